// The admin page: administrators switch collection on and off, and see how each event ended.

import { breakable, byId, h, list, mark, say } from "../page/dom";
import { ago, bytes, count, counted, duration, moment } from "../page/format";
import { Refused, Unreachable, logIn, logOut, readStatus, setSwitch } from "./api";
import type { Ending, Site, Status } from "./api";
import { explained, label } from "./endings";
import "./style.css";

const REFRESH_MS = 2000;

const form = byId("login-form") as HTMLFormElement;
const board = byId("board");
let timer: ReturnType<typeof setTimeout> | undefined;
/** Switch requests in flight; they are drawn once answered. */
const turning = new Set<string>();
/** Incremented by anything that makes a status in flight outdated: a newer request, or a turned switch. */
let latest = 0;
/** Whether the user did something since the last status. Polling alone must not keep a session alive. */
let acted = true;
for (const type of ["pointerdown", "keydown", "wheel"]) addEventListener(type, () => (acted = true), { capture: true, passive: true });

function show(what: "login" | "board"): void {
  byId("login").hidden = what !== "login";
  byId("session").hidden = what !== "board";
  board.hidden = what !== "board";
}

function notice(id: "login-error" | "trouble" | "done", text: string): void {
  const element = byId(id);
  element.hidden = text === "";
  say(element, text);
}

async function refresh(): Promise<void> {
  clearTimeout(timer);
  const mine = ++latest;
  const used = acted;
  acted = false;
  try {
    const status = await readStatus(used);
    if (mine !== latest) return;
    if (!status) {
      if (board.hidden) askForLogin();
      else sessionEnded();
      return;
    }
    draw(status);
    show("board");
    notice("trouble", "");
    board.classList.remove("stale");
  } catch (error) {
    acted ||= used;
    if (mine !== latest) return;
    if (board.hidden && byId("login").hidden) show("board");
    notice("trouble", `${explain(error)} Retrying.`);
    board.classList.add("stale");
  }
  timer = setTimeout(() => void refresh(), REFRESH_MS);
}

function sessionEnded(unfinished = ""): void {
  notice("login-error", `${unfinished}Your session has ended. Please log in again.`);
  askForLogin();
}

function askForLogin(): void {
  clearTimeout(timer);
  latest++;
  // The next person at this browser must not see this session's data.
  say(byId("user"), "");
  byId("sites").replaceChildren();
  notice("trouble", "");
  notice("done", "");
  show("login");
  (form.elements.namedItem("user") as HTMLInputElement).focus();
}

function explain(error: unknown): string {
  if (error instanceof Refused) return error.message;
  if (error instanceof Unreachable) return "The relay does not answer. This page may be out of date.";
  return "Something went wrong on this page.";
}

function draw(status: Status): void {
  say(byId("version"), `Version ${status.version}`);
  say(byId("user"), status.user);
  list(byId("sites"), status.sites, (site) => site.site, createSite, updateSite);
  drawCounters(status);
}

function createSite(site: Site): HTMLElement {
  const id = `site-${site.site}`;
  const toggle = h("button", {
    type: "button",
    class: "switch",
    role: "switch",
    "aria-checked": "false",
    "aria-labelledby": id,
    click: () => void turn(site.site, toggle),
  });
  return h(
    "article",
    { class: "card site" },
    h("h2", { id }, ...breakable(site.site)),
    h("div", { class: "toggle" }, h("output", {}), toggle),
    h("p", { class: "quiet small", "data-part": "changed" }),
    h("p", { class: "quiet small", "data-part": "accepting" }),
    h("p", { class: "notice warn small", "data-part": "refused", role: "status", hidden: true }),
    h(
      "p",
      { class: "notice warn small", "data-part": "lock", hidden: true },
      "Locked by the operator. Nothing is collected here until the lock is lifted in the relay's configuration.",
    ),
    h("p", { class: "notice warn small", "data-part": "recorded", role: "status", hidden: true }),
  );
}

function updateSite(element: HTMLElement, site: Site): void {
  const part = (name: string) => element.querySelector<HTMLElement>(name)!;
  const toggle = part(".switch") as HTMLButtonElement;
  if (!turning.has(site.site)) setToggle(toggle, site.on);
  toggle.disabled = site.locked;
  part("[data-part=lock]").hidden = !site.locked;
  const recorded = part("[data-part=recorded]");
  recorded.hidden = site.recorded === "database";
  say(recorded, unrecorded[site.recorded]);
  drawAcceptance(part("[data-part=accepting]"), part("[data-part=refused]"), site);
  const changed = part("[data-part=changed]");
  if (site.changed_at) {
    say(changed, `Switched ${site.on ? "on" : "off"} ${ago(site.changed_at)}${site.changed_by ? ` by ${site.changed_by}` : ""}`);
    mark(changed, "title", moment(site.changed_at));
  } else {
    say(changed, "Not switched yet");
  }
}

/** Whether Plausible drops the site's events, so that they are held. */
const isRefused = ({ on, plausible }: Site): boolean => on && (plausible.accepting === "never" || plausible.accepting === "no longer");

/** Plausible's handling of the site's events: a warning while it drops them, otherwise a quiet line. */
function drawAcceptance(quiet: HTMLElement, warning: HTMLElement, site: Site): void {
  const { accepting, last_accepted, held, says, advice } = site.plausible;
  const refused = isRefused(site);
  quiet.hidden = refused;
  warning.hidden = !refused;
  say(refused ? quiet : warning, "");
  if (refused) {
    const waiting = held > 0 ? ` (${count(held)} held)` : "";
    say(warning, `${says}${waiting}. ${sentence(advice ?? "")}`);
  } else if (accepting === "yes" && last_accepted) {
    say(quiet, `Plausible last accepted an event ${ago(last_accepted)}`);
    mark(quiet, "title", moment(last_accepted));
  } else {
    say(quiet, [sentence(says), sentence(advice ?? "")].join(" ").trim());
  }
}

// The advice is written for terminals, with commands in backticks.
const sentence = (text: string): string => (text ? `${text[0]!.toUpperCase()}${text.slice(1)}.`.replaceAll("`", "") : "");

const unrecorded: Record<Site["recorded"], string> = {
  database: "",
  tombstone: "Collection is off, and stays off after a restart. The database did not accept the record yet, and waiting events are not deleted yet: the relay keeps trying.",
  nowhere: "Collection is off, but the disk did not accept the record: the relay keeps trying. If it restarts before that succeeds, it collects again.",
};

function setToggle(toggle: HTMLButtonElement, on: boolean): void {
  mark(toggle, "aria-checked", String(on));
  say(toggle.parentElement!.querySelector("output")!, on ? "On" : "Off");
}

async function turn(site: string, toggle: HTMLButtonElement): Promise<void> {
  if (turning.has(site)) return;
  const on = toggle.getAttribute("aria-checked") !== "true";
  const failed = `Could not switch ${site} ${on ? "on" : "off"}.`;
  turning.add(site);
  mark(toggle, "aria-busy", "true");
  try {
    const { purged } = await setSwitch(site, on);
    setToggle(toggle, on);
    const deleted = purged > 0 ? ` ${counted(purged, "waiting event was", "waiting events were")} deleted unsent.` : "";
    notice("done", on ? `Collection for ${site} is on. Each user is asked first.` : `Collection for ${site} is off.${deleted}`);
  } catch (error) {
    if (error instanceof Refused && error.status === 401) {
      turning.delete(site);
      sessionEnded(`${failed} `);
      return;
    }
    notice("done", "");
    // If the state could not be recorded, the site is off all the same, and the relay's message says so.
    const isOff = error instanceof Refused && error.status === 503;
    notice("trouble", isOff ? `${site}: ${explain(error)}` : `${failed} ${explain(error)}`);
    turning.delete(site);
    mark(toggle, "aria-busy", null);
    return;
  }
  turning.delete(site);
  mark(toggle, "aria-busy", null);
  await refresh();
}

function drawCounters({ counters, spool, plausible, sites }: Status): void {
  const delivered = sum(counters.ended.filter((ending) => ending.outcome === "delivered"));
  const held = counters.ended.filter((ending) => ending.outcome !== "delivered" && ending.count > 0);
  say(byId("received"), count(counters.received));
  const found = counters.recovered > 0 ? `plus ${count(counters.recovered)} found on disk at startup` : "from browsers";
  say(byId("recovered"), counters.suspicious > 0 ? `${found}; ${count(counters.suspicious)} look suspicious` : found);
  say(byId("delivered"), count(delivered));
  say(byId("waiting"), count(spool.events));
  const age = spool.oldest_age_seconds;
  say(byId("spool"), spool.events > 0 ? `${bytes(spool.bytes)} on disk${age === null ? "" : `, oldest ${duration(age)}`}` : "nothing on disk");
  say(byId("dropped"), count(sum(held)));

  const pill = byId("plausible");
  const [text, is] =
    plausible.status === "NOT_PLAUSIBLE"
      ? ["Events waiting: upstream is not Plausible", "bad"]
      : plausible.status === "DOWN"
        ? ["Events waiting: Plausible is unreachable", "bad"]
        : sites.some(isRefused)
          ? ["Events held: Plausible drops them", "bad"]
          : plausible.status === "UP"
            ? ["Plausible is reachable", "good"]
            : ["Plausible not contacted yet", ""];
  say(pill, text!);
  mark(pill, "data-is", is!);

  held.sort((a, b) => b.count - a.count);
  byId("no-reasons").hidden = held.length > 0;
  const table = byId("reasons");
  table.hidden = held.length === 0;
  list(
    table.querySelector("tbody")!,
    held,
    label,
    (ending) =>
      h("tr", {}, h("td", {}, explained(ending)), h("td", { class: "quiet" }, h("code", {}, label(ending))), h("td", { class: "number" })),
    (row, ending) => say(row.lastElementChild!, count(ending.count)),
  );

  const came = counters.received + counters.recovered;
  const known = counters.in_progress + counters.spooled + sum(counters.ended);
  const balance = byId("balance");
  balance.hidden = came === 0 || came !== known;
  say(balance, `${counted(came, "event")}, ${count(known)} accounted for: delivered, waiting or listed here.`);
}

const sum = (endings: readonly Ending[]): number => endings.reduce((total, ending) => total + ending.count, 0);

form.addEventListener("submit", (event) => {
  event.preventDefault();
  void submit();
});

async function submit(): Promise<void> {
  const data = new FormData(form);
  const button = form.querySelector("button")!;
  button.disabled = true;
  notice("login-error", "");
  try {
    await logIn(String(data.get("user")), String(data.get("password")));
    form.reset();
    await refresh();
  } catch (error) {
    notice("login-error", error instanceof Unreachable ? "The relay does not answer. Please try again." : explain(error));
    (form.elements.namedItem("password") as HTMLInputElement).select();
  }
  button.disabled = false;
}

byId("logout").addEventListener("click", () => {
  void logOut().then(
    () => {
      notice("login-error", "");
      askForLogin();
    },
    (error: unknown) => notice("trouble", `You are still logged in. ${explain(error)}`),
  );
});

void refresh();
