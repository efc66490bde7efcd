// The demo panel: a small single-page application with hash routes that uses the snippet like a real one.

import { byId, h, mark, say } from "../page/dom";
import type { FeedbackState } from "../feedback";
import { addProject, find, groups, home } from "./routes";
import "./style.css";

/** Interval at which the demo checks whether anything missing has become available. */
const LOOK_MS = 3000;
const TOAST_MS = 3500;

const SIGNALS = { gpc: "Global Privacy Control", dnt: "Do Not Track", automation: "it is automated", ignored: "plausible_ignore is set" };

const feedback = window.feedback;
const consent = byId("consent");
const rating = byId("rating");
const dialog = byId("create-dialog") as HTMLDialogElement;
let adminLink: string | undefined;
let last: FeedbackState | undefined;
/** The card was answered or opened by hand: it does not appear again by itself. */
let asked = false;

function route(): void {
  if (!location.hash) history.replaceState(null, "", home);
  const page = find(location.hash);
  document.title = `${page.title} - meshPanel (demo)`;
  drawNavigation();
  const main = byId("page");
  main.replaceChildren(h("header", {}, h("h1", {}, page.title), h("p", { class: "quiet" }, page.lead)));
  if (page.rows.length > 0) {
    const head = h("tr", {}, ...page.columns.map((column) => h("th", { scope: "col" }, column)));
    const rows = page.rows.map((row) => h("tr", {}, ...row.map((cell) => h("td", {}, cell))));
    main.append(h("section", { class: "card scroll" }, h("table", {}, h("thead", {}, head), h("tbody", {}, ...rows))));
  }
}

function drawNavigation(): void {
  const parts = groups().flatMap(({ title, entries }) => [
    h("h2", {}, title),
    ...entries.map(({ href, label }) =>
      h("a", { href, ...(href === location.hash.split("?")[0] ? { "aria-current": "page" } : {}) }, label),
    ),
  ]);
  byId("nav").replaceChildren(
    ...parts,
    h("h2", {}, "You"),
    h("button", { type: "button", class: "plain", id: "privacy", click: () => openConsent() }, "Privacy"),
  );
}

function openConsent(): void {
  const said = { in: "You are sharing.", out: "You are not sharing.", unset: "You have not answered yet." };
  const text = last?.collection === "off" ? "Collection is switched off, so nothing is shared." : said[last?.choice ?? "unset"];
  say(byId("consent-now"), text);
  byId("consent-now").hidden = false;
  rating.hidden = true;
  consent.hidden = false;
  byId("consent-yes").focus();
}

function decide(yes: boolean): void {
  asked = true;
  consent.hidden = true;
  byId("consent-now").hidden = true;
  void (yes ? feedback?.optIn() : feedback?.optOut())?.then((state) => {
    toast(yes ? (state.active ? "Thank you for sharing" : "Thank you for your answer") : "Nothing will be shared");
    draw(state);
  });
}

function draw(state: FeedbackState): void {
  last = state;
  const { collection, choice, active, signal } = state;
  step("step-admin", collection === "on" ? "yes" : collection === "off" ? "no" : "", {
    on: "Administrators have switched collection on",
    off: "Administrators have switched collection off",
    unknown: "The relay did not answer, so it is unknown whether collection is on",
  }[collection]);
  const unasked = signal ? `Your browser counts as a no (${SIGNALS[signal]})` : "You have not answered yet";
  step("step-user", choice === "in" ? "yes" : choice === "out" || signal ? "no" : "", {
    in: "You said yes",
    out: "You said no",
    unset: unasked,
  }[choice]);
  const paused = !active && choice === "in" && collection === "on";
  const uncounted = (signal === "automation" || signal === "ignored") && `This browser is not counted: ${SIGNALS[signal]}`;
  const idle = uncounted || (paused ? "Collection was interrupted and resumes automatically" : "Nothing is loaded or sent");
  step("step-active", active ? "yes" : "", active ? "The module is loaded and collecting" : idle);

  const off = byId("collection-off");
  off.hidden = collection !== "off";
  if (collection === "off" && off.childElementCount === 0) {
    off.replaceChildren("Collection is off for this site. ", adminLink ? h("a", { href: adminLink }, "Switch it on in the admin page") : "An administrator can switch it on", ".");
  }
  if (collection === "on" && choice === "unset" && !signal && !asked && consent.hidden) {
    // Unlike the card opened on request, this one does not take the focus from the user's work.
    asked = true;
    consent.hidden = false;
  }
  // Only the card that appeared by itself: a user who opened it under Privacy may still be reading it.
  if (collection === "off" && !consent.hidden && byId("consent-now").hidden) {
    asked = false;
    consent.hidden = true;
  }
}

function step(id: string, is: string, text: string): void {
  say(byId(id), text);
  mark(byId(id), "data-is", is);
}

let toastTimer: ReturnType<typeof setTimeout> | undefined;
function toast(text: string): void {
  say(byId("toast"), text);
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => say(byId("toast"), ""), TOAST_MS);
}

function askForRating(): void {
  // No question for a rating that would not be collected: it would waste the user's time.
  if (!last || last.collection !== "on" || last.choice !== "in") return;
  consent.hidden = true;
  rating.hidden = false;
}

const scale = ["very dissatisfied", "dissatisfied", "neutral", "satisfied", "very satisfied"];
byId("rating-buttons").append(
  ...scale.map((words, index) =>
    h(
      "button",
      {
        type: "button",
        "aria-label": `${index + 1} ${words}`,
        click: () => {
          feedback?.rate("project-created", index + 1);
          rating.hidden = true;
          toast("Thank you for your answer");
        },
      },
      h("b", {}, String(index + 1)),
      words,
    ),
  ),
);
byId("rating-skip").addEventListener("click", () => (rating.hidden = true));

byId("create").addEventListener("click", () => dialog.showModal());
byId("create-cancel").addEventListener("click", () => dialog.close());
byId("create-form").addEventListener("submit", () => {
  const name = String(new FormData(byId("create-form") as HTMLFormElement).get("name"));
  location.hash = addProject(name);
  toast(`Project ${name} is ready`);
  askForRating();
});
byId("search").addEventListener("click", () => {
  feedback?.track("Feature Used", { feature: "search" });
  toast("Nothing found for your search");
});
byId("consent-yes").addEventListener("click", () => decide(true));
byId("consent-no").addEventListener("click", () => decide(false));
addEventListener("hashchange", route);
addEventListener("feedback-state", (event) => {
  draw(event.detail);
  if (event.detail.active) clearTimeout(looking);
  else void look();
});

let looking: ReturnType<typeof setTimeout> | undefined;
async function look(): Promise<void> {
  clearTimeout(looking);
  const state = await feedback?.state();
  if (state) draw(state);
  else step("step-admin", "no", "The snippet could not be loaded");
  if (!state?.active && state?.choice !== "out") {
    clearTimeout(looking);
    looking = setTimeout(() => void look(), LOOK_MS);
  }
}

async function link(): Promise<void> {
  try {
    const { receiver, admin } = (await (await fetch("/demo.json")).json()) as { receiver?: string; admin?: string };
    adminLink = admin;
    if (receiver) byId("links").append(h("a", { href: receiver, target: "_blank" }, "See what arrives"));
    if (admin) byId("links").append(h("a", { href: admin, target: "_blank" }, "Admin page"));
  } catch {
    // Then there are no links.
  }
}

route();
void link().then(look);
