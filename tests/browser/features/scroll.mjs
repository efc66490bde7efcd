// The scroll depth in common layouts, in a window of 1280 by 800.

import assert from "node:assert/strict";
import { OPT_IN, counted, leave, sentAll } from "../harness/counting.mjs";
import { eventually, feature, scenario } from "../harness.mjs";

const block = (height, style = "") => `<div style="height: ${height}px; ${style}"></div>`;
const pane = (inside, style = "", id = "pane") => `<div id="${id}" style="overflow: auto; ${style}">${inside}</div>`;
const shell = (inside) => `<div style="display: flex; height: 800px; overflow: hidden">${inside}</div>`;
const SIDEBAR = pane(block(3000), "width: 250px; height: 800px", "sidebar");
const CONTENT = "flex: 1; height: 800px";
const FULL = shell(pane(block(6000), CONTENT));

/** Styles of the root and the body, set before the content. */
const BODY_SCROLLS = `document.documentElement.style.cssText = "height: 100%; overflow: hidden"; document.body.style.cssText = "height: 100%; overflow: auto; margin: 0"`;
const LOCKED = `document.documentElement.style.cssText = "height: 100%; overflow: hidden"`;

const to = (top) => `document.getElementById("pane").scrollTop = ${top}`;
const next = `history.pushState(null, "", "/next")`;
/** The next page, drawn at its top one frame later: a pane that stays where it is for a second counts as read there. */
const NEXT_AT_TOP = `new Promise((done) => { ${next}; requestAnimationFrame(() => { ${to(0)}; done(); }); })`;
/** Resolves once the browser has drawn, and therefore dispatched scroll events. */
const DRAWN = `new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))`;
const SHADOW = `const host = document.createElement("div"); host.style.cssText = "display: block; height: 800px";
  host.attachShadow({ mode: "open" }).innerHTML = '<div style="height: 800px; overflow: auto"><div style="height: 6000px"></div></div>';
  document.body.replaceChildren(host); window.inner = host.shadowRoot.firstChild`;

/** Name, content, steps, and the scroll depths of the pages that were left; undefined where it is unknown. */
const LAYOUTS = [
  ["a document that is not scrollable", block(300), [], [100]],
  ["a document at its top", block(6000), [], [13]],
  ["a document", block(6000), ["scrollTo(0, 1200)"], [33]],
  ["a document, and back up", block(6000), ["scrollTo(0, 1200)", DRAWN, "scrollTo(0, 0)"], [33]],
  ["a document at its end", block(6000), ["scrollTo(0, 5200)"], [100]],
  ["a pane at its top", FULL, [], [13]],
  ["a pane", FULL, [to(1200)], [33]],
  ["a pane, and back up", FULL, [to(1200), DRAWN, to(0)], [33]],
  ["a pane beside a sidebar", shell(SIDEBAR + pane(block(6000), CONTENT)), [to(1200)], [33]],
  ["a sidebar that is scrolled to its end", shell(SIDEBAR + pane(block(6000), CONTENT)), [`sidebar.scrollTop = 9999`], [13]],
  ["a pane below a bar", block(64) + pane(block(6000), "height: 736px"), [to(1200)], [32]],
  ["a pane within a pane", shell(pane(pane(block(6000), "height: 798px"), CONTENT, "outer")), [to(1200)], [33]],
  ["a pane in a document that sticks out a little", FULL + block(20), [to(1200)], [33]],
  ["a pane that is filled later", shell(pane("", CONTENT)), [DRAWN, `pane.innerHTML = ${JSON.stringify(block(6000))}`], [13]],
  ["a pane that comes later", "", [DRAWN, `document.body.innerHTML = ${JSON.stringify(FULL)}`, DRAWN, to(1200)], [33]],
  ["a pane that grows backwards, as a chat", shell(pane(block(6000, "flex: none"), `${CONTENT}; display: flex; flex-direction: column-reverse`)), [to(-1200)], [33]],
  ["a pane in a shadow tree", "", [SHADOW, DRAWN, "inner.scrollTop = 1200"], [33]],
  ["the body as pane", block(6000), [BODY_SCROLLS, DRAWN, "document.body.scrollTop = 1200"], [33]],
  ["a widget in a document that is not scrollable", pane(block(3000), "width: 300px; height: 200px"), [to(900)], [100]],
  ["a widget in a long document", pane(block(9000), "width: 900px; height: 400px") + block(5600), [to(900)], [13]],
  ["content that is moved without scrolling", block(6000), [LOCKED], [undefined]],
  ["the next page in the same pane", FULL, [to(5200), DRAWN, NEXT_AT_TOP, DRAWN], [100, 13]],
];

export default () => feature("How far a page was read", () => {
  scenario("Scroll depth is that of what the user scrolls, and of each page its own", {}, async (world) => {
    const policy = `default-src 'self' ${world.relay} 'unsafe-inline' 'wasm-unsafe-eval'`;
    const url = world.pageWithSnippet("/layout.html", { policy });
    const row = async ([name, content, steps]) => {
      const { user, sent } = await counted(world, { viewport: { width: 1280, height: 800 } });
      const page = await user.open(url);
      await eventually("the snippet runs", () => page.evaluate(() => typeof window.feedback?.optIn === "function"));
      const locked = steps[0] === LOCKED ? `${LOCKED};` : "";
      await page.evaluate(`document.body.style.margin = 0; document.body.innerHTML = ${JSON.stringify(content)}; ${locked}`);
      await page.evaluate(`(async () => { ${OPT_IN} })()`);
      for (const step of [...steps, DRAWN, next.replace("next", "last")]) await page.evaluate(step);
      await sentAll(page, sent);
      await leave(user, page);
      return [name, sent.relay.filter((event) => event.name === "engagement").map((event) => event.scroll_depth)];
    };
    const found = [];
    // A few at a time: a window that is not drawn dispatches no scroll events.
    for (let at = 0; at < LAYOUTS.length; at += 6) found.push(...(await Promise.all(LAYOUTS.slice(at, at + 6).map(row))));
    assert.deepEqual(Object.fromEntries(found), Object.fromEntries(LAYOUTS.map(([name, , , depths]) => [name, depths])));
  });
});
