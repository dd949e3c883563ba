// Pages in a real browser, whose executable is the first argument. Selectors are Playwright's.
import { readFile } from "node:fs/promises";

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
  // What it asks for below /packages/ comes from the npm packages, below /scripts/ from this directory; of its requests
  // for `refuse.path`, the one with the number `refuse.request` gets an error status.
  // The browser lacks the globals named in `without`, and runs the script `before` ahead of the page's own.
  async open({ page: name, session, url, cookies = {}, refuse, without = [], before = "" }) {
    if (!sessions.has(session)) sessions.set(session, await browser.newContext());
    const added = Object.entries(cookies).map(([name, value]) => ({ name, value, url: new URL(url).origin }));
    await sessions.get(session).addCookies(added);
    const page = await sessions.get(session).newPage();
    await page.route("**/packages/**", async (route) => {
      const file = new URL(route.request().url()).pathname.replace("/packages/", "./node_modules/");
      await route.fulfill({ body: await readFile(file), contentType: "text/javascript" });
    });
    await page.route(({ pathname }) => pathname.startsWith("/scripts/"), (route) =>
      route.fulfill({ path: new URL(route.request().url()).pathname.replace("/scripts/", "./") }),
    );
    await page.addInitScript({ path: "patience.mjs" });
    await page.addInitScript((names) => names.forEach((one) => delete window[one]), without);
    await page.addInitScript(before);
    let asked = 0;
    if (refuse) {
      await page.route(refuse.path, (route) => {
        asked += 1;
        return asked === refuse.request ? route.fulfill({ status: 503 }) : route.continue();
      });
    }
    const problems = [];
    page.on("pageerror", (error) => problems.push(error.stack || String(error)));
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
  html: ({ page, selector }) => pages.get(page).page.locator(selector).innerHTML(),
  // Runs a script's default function in the page.
  run: ({ page, script, given }) => pages.get(page).page.evaluate(
    async ([source, given]) => (await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" }))))
      .default(...given),
    [script, given],
  ),
  // Calls a function that the module at a path exports.
  ask: ({ page, module, name, given }) => pages.get(page).page.evaluate(
    async ([module, name, given]) => (await import(module))[name](given),
    [module, name, given],
  ),
  // Takes the network away from the page, and its time, as of a tab that sleeps; or gives both back.
  async putToSleep({ page: name, isAsleep }) {
    const { page } = pages.get(name);
    const devtools = await page.context().newCDPSession(page);
    if (!isAsleep) await devtools.send("Page.setWebLifecycleState", { state: "active" });
    await page.context().setOffline(isAsleep);
    if (isAsleep) await devtools.send("Page.setWebLifecycleState", { state: "frozen" });
    await devtools.detach();
  },
  goOffline: ({ page, isOffline }) => pages.get(page).page.context().setOffline(isOffline),
  url: ({ page }) => pages.get(page).page.url(),
  screenshot: async ({ page, path }) => {
    await pages.get(page).page.screenshot({ path });
  },
  // Errors that scripts threw and errors that the console showed, since the page was opened.
  problems: ({ page }) => pages.get(page).problems,
  // Closes all pages of all sessions.
  async closeAll() {
    const open = [...sessions.values()];
    sessions.clear();
    pages.clear();
    await Promise.all(open.map((session) => session.close()));
  },
});
