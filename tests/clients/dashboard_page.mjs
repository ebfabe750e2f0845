// The dashboard in headless Chromium, as a reader sees it.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";

const WAIT_MILLISECONDS = 20_000;
export const DESK = { width: 1440, height: 900 };
export const PHONE = { width: 360, height: 740 };

export async function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    headless: true,
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
  });
}

/** A page of its own browser context; what a page must not do becomes a text in `faults`. */
export async function open(browser, host, faults) {
  const context = await browser.newContext({ viewport: DESK, colorScheme: "light" });
  context.setDefaultTimeout(WAIT_MILLISECONDS);
  await context.addInitScript(() => {
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) => {
      window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`);
    });
  });
  const page = await context.newPage();
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) faults.push(message.text());
  });
  page.on("pageerror", (error) => faults.push(String(error)));
  const watch = (request) => {
    const url = new URL(request.url());
    if (url.host !== host && url.protocol !== "data:") faults.push(`asks ${request.url()}`);
  };
  page.on("request", watch);
  page.on("websocket", watch);
  await page.goto(`http://${host}/`);
  return page;
}

/** The exact value behind a figure. */
export async function figure(page, id) {
  return Number(await page.locator(`#${id}`).getAttribute("value"));
}

/** Rows of a table, by their headers: the exact values behind their cells. */
export async function table(page, id) {
  return page.locator(`#${id}`).evaluate((element) => {
    const valueOf = (cell) => Number(cell.querySelector("data").value);
    const rows = [...element.tBodies[0].rows].filter(({ cells }) => cells.length > 1);
    const entry = ({ cells: [head, ...others] }) => [
      head.querySelector("data").textContent,
      others.map(valueOf),
    ];
    return rows.map(entry);
  });
}

/** How often the line of a chart begins anew, and how many points it has. */
export async function lineOf(page, name) {
  const path = await page.locator(`path.line[data-figure="${name}"]`).getAttribute("d");
  const count = (letter) => path.split(letter).length - 1;
  return { runs: count("M"), points: count("M") + count("L") };
}

/**
 * What does not look right at this size: parts that reach out of the window or of their panel,
 * and texts whose contrast is less than WCAG 2.2 asks for (section 1.4.3: 4.5 to 1).
 */
export async function flaws(page) {
  return page.evaluate(() => {
    const found = [];
    if (document.documentElement.scrollWidth > innerWidth) found.push("the page scrolls sideways");
    const canvas = document.createElement("canvas");
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const isSeen = (element) => element.checkVisibility() && !element.closest(".unseen, .tip");
    for (const element of document.querySelectorAll("body *")) {
      if (!isSeen(element) || element.closest(".scroll")) continue;
      const { right, left } = element.getBoundingClientRect();
      const panel = element.closest(".panel, .tile")?.getBoundingClientRect();
      const name = `${element.tagName} ${element.id} ${element.textContent.slice(0, 30)}`;
      if (right > (panel?.right ?? innerWidth) + 1 || left < (panel?.left ?? 0) - 1) {
        found.push(`sticks out: ${name}`);
      }
      const hasText = [...element.childNodes].some(
        (node) => node.nodeType === Node.TEXT_NODE && node.data.trim() !== "",
      );
      if (!hasText || element.closest("main[hidden], :disabled")) continue;
      const style = getComputedStyle(element);
      const ink = element instanceof SVGElement ? style.fill : style.color;
      const ratio = contrast(paint(ink), paint(groundOf(element)));
      if (ratio < 4.5) found.push(`contrast ${ratio.toFixed(2)}: ${name}`);
    }
    return found;

    function groundOf(element) {
      for (let at = element; at; at = at.parentElement) {
        const ground = getComputedStyle(at).backgroundColor;
        if (!/, 0\)$/.test(ground)) return ground;
      }
      return "white";
    }
    function paint(colour) {
      context.fillStyle = colour;
      context.fillRect(0, 0, 1, 1);
      return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
    }
    function luminance(parts) {
      const linear = (part) =>
        part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
      const [red, green, blue] = parts.map((part) => linear(part / 255));
      return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    }
    function contrast(a, b) {
      const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
      return (light + 0.05) / (dark + 0.05);
    }
  });
}

/** Desk and phone, light and dark: flaws of each, and pictures where SCREENSHOTS names a folder. */
export async function lookAt(page, name) {
  const found = [];
  const folder = process.env.SCREENSHOTS;
  if (folder) mkdirSync(folder, { recursive: true });
  for (const [device, viewport] of Object.entries({ desk: DESK, phone: PHONE })) {
    await resize(page, viewport);
    for (const colorScheme of ["dark", "light"]) {
      await page.emulateMedia({ colorScheme });
      const view = `${name}-${device}-${colorScheme}`;
      found.push(...(await flaws(page)).map((flaw) => `${view}: ${flaw}`));
      if (folder) await page.screenshot({ path: join(folder, `${view}.png`), fullPage: true });
    }
  }
  await resize(page, DESK);
  return found;
}

/** Returns once the charts are drawn for the new size. */
export async function resize(page, viewport) {
  await page.setViewportSize(viewport);
  await page.waitForFunction(isDrawnForItsWidth);
}

function isDrawnForItsWidth() {
  return [...document.querySelectorAll(".plot > svg")].every(
    (svg) => !svg.checkVisibility() || svg.viewBox.baseVal.width === svg.parentNode.clientWidth,
  );
}
