// Pages in a real browser, whose executable is the first argument. Selectors are Playwright's.
import { chromium } from "playwright-core";

import { serve } from "./rpc.mjs";

const browser = await chromium.launch({
  executablePath: process.argv[2],
  // Tests run as root in containers, where Chromium's sandbox does not start.
  chromiumSandbox: false,
  args: [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
const sessions = new Map();
const pages = new Map();

await serve({
  // Opens a page in a session, which has its own cookies and is made by its first page.
  async open({ page: name, session, url }) {
    if (!sessions.has(session)) sessions.set(session, await browser.newContext());
    const page = await sessions.get(session).newPage();
    const problems = [];
    page.on("pageerror", (error) => problems.push(error.stack));
    page.on("console", (message) => {
      if (message.type() === "error") problems.push(message.text());
    });
    pages.set(name, { page, problems });
    await page.goto(url);
  },
  reload: ({ page }) => pages.get(page).page.reload(),
  fill: ({ page, selector, text }) => pages.get(page).page.locator(selector).fill(text),
  press: ({ page, selector, key }) => pages.get(page).page.locator(selector).press(key),
  click: ({ page, selector }) => pages.get(page).page.locator(selector).click(),
  // Waits until `selector` is `state`: visible, hidden, attached or detached.
  async wait({ page, selector, state }) {
    await pages.get(page).page.locator(selector).last().waitFor({ state });
  },
  texts: ({ page, selector }) => pages.get(page).page.locator(selector).allInnerTexts(),
  url: ({ page }) => pages.get(page).page.url(),
  screenshot: async ({ page, path }) => {
    await pages.get(page).page.screenshot({ path });
  },
  // Errors that scripts threw and errors that the console showed, since the page was opened.
  problems: ({ page }) => pages.get(page).problems,
  async close({ session }) {
    await sessions.get(session).close();
    sessions.delete(session);
  },
});
