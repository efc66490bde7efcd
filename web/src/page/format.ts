// Numbers, sizes and times in a human-readable form.

const number = new Intl.NumberFormat("en");
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const exact = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "medium" });

const spans: [Intl.RelativeTimeFormatUnit, number][] = [
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
];

export const count = (value: number): string => number.format(value);

export const counted = (value: number, one: string, many = `${one}s`): string =>
  `${count(value)} ${value === 1 ? one : many}`;

export function bytes(value: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

export function duration(seconds: number): string {
  for (const [unit, length] of spans) {
    if (seconds >= length) return counted(Math.floor(seconds / length), unit);
  }
  return counted(Math.floor(seconds), "second");
}

/** "5 minutes ago". */
export function ago(time: string, now = Date.now()): string {
  const seconds = (new Date(time).getTime() - now) / 1000;
  if (Number.isNaN(seconds)) return "";
  for (const [unit, length] of spans) {
    if (-seconds >= length) return relative.format(Math.ceil(seconds / length), unit);
  }
  return -seconds < 10 ? "just now" : "less than a minute ago";
}

export function moment(time: string): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? time : exact.format(date);
}

/** The time of day, of milliseconds since 1970. */
export const clock = (ms: number): string => new Date(ms).toLocaleTimeString("en-GB");
