// The page of the chat in headless Chromium: what a person does and sees.

import assert from "node:assert/strict";
import { chromium } from "playwright-core";

export const WAIT_MILLISECONDS = 20_000;
export const DESK = { width: 1280, height: 800 };

export async function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    headless: true,
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
  });
}

/**
 * The page at an origin, in a browser context of its own; any certificate will do. What a page must
 * not do becomes a text in `faults`.
 */
export async function open(browser, origin, who, faults) {
  const { host, protocol } = new URL(origin);
  const look = { viewport: DESK, colorScheme: "light" };
  const context = await browser.newContext({ ...look, ignoreHTTPSErrors: true });
  context.setDefaultTimeout(WAIT_MILLISECONDS);
  await context.addInitScript(() => {
    window.violations = [];
    window.sockets = [];
    window.WebSocket = class extends WebSocket {
      constructor(...given) {
        super(...given);
        window.sockets.push(this);
      }
    };
    document.addEventListener("securitypolicyviolation", (event) => {
      window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`);
    });
  });
  const page = await context.newPage();
  const fault = (text) => faults.push(`${who}: ${text}`);
  page.on("console", (message) => {
    const isRefusal = /^WebSocket connection to '\S+' failed/.test(message.text());
    const isQuiet = !["error", "warning"].includes(message.type());
    if (!isRefusal && !isQuiet) fault(message.text());
  });
  page.on("pageerror", (error) => fault(String(error)));
  const own = [protocol, protocol.replace("http", "ws"), "data:"];
  const isForeign = (url) =>
    !own.includes(url.protocol) || (url.host !== host && url.protocol !== "data:");
  const watch = (request) => isForeign(new URL(request.url())) && fault(`asks ${request.url()}`);
  page.on("request", watch);
  page.on("websocket", watch);
  page.on("response", (response) => {
    if (response.status() >= 400) fault(`${response.status()} for ${response.url()}`);
  });
  await page.goto(`${origin}/`);
  return page;
}

export async function enterRoom(page, name, room) {
  await page.getByLabel("Your name").fill(name);
  await page.getByRole("textbox", { name: "Room" }).fill(room);
  await page.getByRole("button", { name: "Join" }).click();
  await page.getByText("Connected", { exact: true }).waitFor();
  await page.getByRole("heading", { name: room }).waitFor();
}

/** What was agreed to on the connection that the page has now. */
export function extensions(page) {
  return page.evaluate(() => window.sockets.at(-1).extensions);
}

export async function say(page, text) {
  await page.getByRole("textbox", { name: "Message" }).fill(text);
  await page.getByRole("textbox", { name: "Message" }).press("Enter");
}

export function texts(page) {
  return page.locator("#log .message .text").allTextContents();
}

/** Waits for a message that the server has confirmed. */
export async function sees(page, text) {
  await page.waitForFunction((expected) => {
    const shown = [...document.querySelectorAll("#log .message:not(.pending) .text")];
    return shown.some((element) => element.textContent === expected);
  }, text);
}

/** All pages show exactly these messages, in this order, each of them confirmed. */
export async function agree(pages, expected) {
  for (const page of pages) {
    await page.waitForFunction(() => document.querySelector("#log .pending") === null);
    assert.deepEqual(await texts(page), expected);
  }
}

export async function staysClean(pages, faults) {
  for (const page of pages) {
    assert.deepEqual(await page.evaluate(() => window.violations), []);
  }
  assert.deepEqual(faults, []);
}
