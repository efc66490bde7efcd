// User actions on the demo panel.

/** Opens the panel and says yes. */
export async function optIn(visitor, world) {
  const page = await visitor.open(world.panel);
  await sayYes(page);
  return page;
}

/** Answers the card that appeared by itself. */
export async function sayYes(page) {
  await page.getByRole("button", { name: "Yes, share" }).click();
  await collecting(page);
}

/** Changes the choice, or makes it for the first time if the card did not ask. */
export async function answerUnderPrivacy(page, answer) {
  await page.getByRole("button", { name: "Privacy" }).click();
  await page.getByRole("button", { name: answer }).click();
}

export const collecting = (page) => page.getByText("The module is loaded and collecting").waitFor();
export const search = (page) => page.getByRole("button", { name: "Search" }).click();
export const goTo = (page, name) => page.getByRole("link", { name, exact: true }).click();

/** Closes the tab like a user, so that the page can still send its last events. */
export const leave = (page) => page.close({ runBeforeUnload: true });

/** Dispatches the events of a closing page, but keeps the page open for inspection. */
export const pretendToLeave = (page) => page.evaluate(() => void dispatchEvent(new PageTransitionEvent("pagehide")));
