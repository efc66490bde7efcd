// The receiver's live page: totals, pages, ratings and the newest events, read once a second.

import { breakable, byId, h, list, mark, say } from "../page/dom";
import { clock, count, counted } from "../page/format";
import "./style.css";

const REFRESH_MS = 1000;
const PAGES_MAX = 12;
const RECENT_MAX = 30;

interface Arrival {
  /** In milliseconds since 1970. */
  at: number;
  name: string;
  page: string;
  props: Record<string, unknown> | null;
  visitor: string;
  browser: string;
  os: string;
}

interface Rating {
  activity: string;
  count: number;
  average: number;
  distribution: number[];
}

interface Stats {
  events: number;
  pageviews: number;
  visitors: number;
  dropped: number;
  pages: { page: string; visitors: number; pageviews: number }[];
  goals: { name: string; count: number }[];
  ratings: Rating[];
  recent: Arrival[];
}

const scale = ["very dissatisfied", "dissatisfied", "neutral", "satisfied", "very satisfied"];
let first = true;

async function refresh(): Promise<void> {
  const live = byId("live");
  try {
    const response = await fetch("stats", { cache: "no-store", signal: AbortSignal.timeout(5000) });
    if (!response.ok) throw new Error(String(response.status));
    draw((await response.json()) as Stats);
    say(live, "Live");
    mark(live, "data-is", "good");
  } catch {
    say(live, "The receiver does not answer");
    mark(live, "data-is", "bad");
  }
  setTimeout(() => void refresh(), REFRESH_MS);
}

function draw(stats: Stats): void {
  for (const total of ["visitors", "pageviews", "events", "dropped"] as const) say(byId(total), count(stats[total]));
  const empty = stats.events === 0 && stats.recent.length === 0;
  byId("nothing").hidden = !empty;
  byId("charts").hidden = empty;
  byId("recent-card").hidden = empty;
  drawPages(stats);
  drawGoals(stats);
  drawRatings(stats.ratings);
  drawRecent(stats.recent);
  first = false;
}

function share(element: HTMLElement, part: number, whole: number): void {
  element.style.setProperty("--share", `${whole > 0 ? ((100 * part) / whole).toFixed(1) : 0}%`);
}

function bar(name: string): HTMLElement {
  return h("li", {}, h("span", { class: "name" }, ...breakable(name)), h("span", { class: "value" }));
}

function drawPages({ pages }: Stats): void {
  byId("no-pages").hidden = pages.length > 0;
  const most = Math.max(...pages.map((page) => page.pageviews));
  const top = [...pages].sort((a, b) => b.visitors - a.visitors || b.pageviews - a.pageviews).slice(0, PAGES_MAX);
  list(
    byId("pages"),
    top,
    ({ page }) => page,
    ({ page }) => bar(page),
    (element, { pageviews, visitors }) => {
      share(element, pageviews, most);
      say(element.lastElementChild!, `${count(visitors)} / ${count(pageviews)}`);
    },
  );
}

function drawGoals({ goals }: Stats): void {
  byId("no-goals").hidden = goals.length > 0;
  const most = Math.max(...goals.map((goal) => goal.count));
  list(
    byId("goals"),
    [...goals].sort((a, b) => b.count - a.count),
    (goal) => goal.name,
    (goal) => bar(goal.name),
    (element, goal) => {
      share(element, goal.count, most);
      say(element.lastElementChild!, count(goal.count));
    },
  );
}

function drawRatings(ratings: Rating[]): void {
  byId("no-ratings").hidden = ratings.length > 0;
  list(byId("ratings"), ratings, (rating) => rating.activity, createRating, updateRating);
}

function createRating({ activity }: Rating): HTMLElement {
  const steps = scale.map((words, index) =>
    h("li", { title: words }, h("span", { class: "small" }), h("span", { class: "column-space" }), h("span", { class: "quiet small" }, String(index + 1))),
  );
  return h(
    "article",
    { class: "rating" },
    h("div", { class: "spread" }, h("h3", {}, activity), h("span", {}, h("b", {}), h("span", { class: "quiet small" }))),
    h("ol", { class: "scale" }, ...steps),
  );
}

function updateRating(element: HTMLElement, { count: total, average, distribution }: Rating): void {
  const average_of = element.querySelector("b")!;
  say(average_of, average.toFixed(1));
  say(average_of.nextElementSibling!, ` of 5, ${counted(total, "rating")}`);
  element.querySelectorAll("li").forEach((step, index) => {
    const [number, space] = step.children;
    share(space as HTMLElement, distribution[index] ?? 0, Math.max(...distribution));
    say(number!, count(distribution[index] ?? 0));
    mark(step, "aria-label", `${index + 1} ${scale[index]}: ${distribution[index] ?? 0}`);
  });
}

function drawRecent(recent: Arrival[]): void {
  const seen = new Map<string, number>();
  const newest = recent.map((arrival) => {
    // Two events can have identical content and still be distinct.
    const text = JSON.stringify(arrival);
    const nth = (seen.get(text) ?? 0) + 1;
    seen.set(text, nth);
    return { arrival, key: `${text}${nth}` };
  });
  newest.sort((a, b) => b.arrival.at - a.arrival.at);
  list(byId("recent").querySelector("tbody")!, newest.slice(0, RECENT_MAX), ({ key }) => key, createArrival, () => {});
}

function createArrival({ arrival }: { arrival: Arrival }): HTMLElement {
  const props = Object.entries(arrival.props ?? {}).map(([key, value]) => h("span", { class: "prop" }, `${key}: ${String(value)}`));
  return h(
    "tr",
    { class: first ? "" : "fresh" },
    h("td", { class: "quiet" }, clock(arrival.at)),
    h("td", { class: "name-of-event" }, arrival.name),
    h("td", {}, h("code", {}, ...breakable(arrival.page))),
    h("td", {}, ...props),
    h("td", {}, h("code", {}, arrival.visitor)),
    h("td", { class: "quiet" }, [arrival.browser, arrival.os].filter(Boolean).join(", ")),
  );
}

void refresh();
