// What people do on the demo panel.

/** Opens the panel and says yes. */
export async function optIn(visitor, world) {
  const page = await visitor.open(world.panel);
  await sayYes(page);
  return page;
}

/** Answers the card that came up by itself. */
export async function sayYes(page) {
  await page.getByRole("button", { name: "Yes, share" }).click();
  await collecting(page);
}

/** Changes their mind, or says for the first time what the card did not ask. */
export async function answerUnderPrivacy(page, answer) {
  await page.getByRole("button", { name: "Privacy" }).click();
  await page.getByRole("button", { name: answer }).click();
}

export const collecting = (page) => page.getByText("The module is loaded and collects").waitFor();
export const search = (page) => page.getByRole("button", { name: "Search" }).click();
export const goTo = (page, name) => page.getByRole("link", { name, exact: true }).click();

/** Closes the tab as its user would, so that the page has its last word. */
export const leave = (page) => page.close({ runBeforeUnload: true });

/** Tells the page that it is going away, which stays to be looked at. */
export const pretendToLeave = (page) => page.evaluate(() => void dispatchEvent(new PageTransitionEvent("pagehide")));
