// Opens reports of the load generator in headless Chromium and says what a reader finds there.
//
// Usage: node chromium_report.mjs FILE.html... Prints one JSON array with an object per file.
// CHROMIUM names the browser's program, /usr/bin/chromium unless set. SCREENSHOTS names a folder
// for pictures of every file: light, dark, as wide as a phone, and printed.

import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const DESK = { width: 1280, height: 900 };
const PHONE = { width: 400, height: 800 };
const PAGE_MILLISECONDS = 20_000;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
});
try {
  const found = [];
  for (const file of process.argv.slice(2)) found.push(await read(file));
  console.log(JSON.stringify(found));
} finally {
  await browser.close();
}

async function read(file) {
  const address = pathToFileURL(file).href;
  const found = { file: basename(file), problems: [], requests: [] };
  const page = await browser.newPage({ viewport: DESK, colorScheme: "light" });
  page.setDefaultTimeout(PAGE_MILLISECONDS);
  page.on("console", (message) => found.problems.push(message.text()));
  page.on("pageerror", (error) => found.problems.push(String(error)));
  page.on("request", (request) => {
    const isOwn = request.url() === address || request.url().startsWith("data:");
    if (!isOwn) found.requests.push(request.url());
  });
  await page.goto(address);
  await drawn(page);
  found.title = await page.title();
  found.text = await page.evaluate(() => document.body.innerText);
  found.foreign = await page.locator("img, iframe, object, link[rel=stylesheet]").count();
  found.charts = await page.evaluate(chartsInPage);
  found.overlaps = await page.evaluate(overlapsInPage);
  found.tips = await hover(page);
  found.switched = await page.evaluate(switchesInPage);
  await page.setViewportSize(PHONE);
  await drawn(page);
  found.overlaps.push(...(await page.evaluate(overlapsInPage)));
  found.phone_width = await page.evaluate(() => document.documentElement.scrollWidth);
  await page.close();
  if (process.env.SCREENSHOTS) await takePictures(address, basename(file, ".html"));
  return found;
}

/** Waits until every chart has been drawn for the width that the page has now. */
async function drawn(page) {
  await page.waitForFunction(() =>
    [...document.querySelectorAll("svg[data-chart]")].every(
      (svg) => svg.viewBox.baseVal?.width === Math.max(240, Math.round(svg.parentNode.clientWidth)),
    ),
  );
}

/** The text that each chart shows when the pointer is at its middle. */
async function hover(page) {
  const tips = {};
  for (const svg of await page.locator("svg[data-chart]").all()) {
    await svg.scrollIntoViewIfNeeded();
    const { x, y, width, height } = await svg.boundingBox();
    // Not every chart has a point in its middle: the pointer looks for one, as a reader's does.
    for (let share = 0.5; share < 1; share += 0.04) {
      await page.mouse.move(x + width * share, y + height * 0.5);
      const tip = svg.locator("xpath=..").locator(".tip");
      if (await tip.isVisible()) {
        tips[await svg.getAttribute("data-chart")] = await tip.innerText();
        break;
      }
    }
  }
  return tips;
}

/** Runs inside the page: presses every button; returns the titles of the y axes on the way. */
function switchesInPage() {
  const titles = new Set();
  const press = (button) => {
    button.click();
    const shown = document.querySelectorAll("svg[data-chart] text.axis.y");
    for (const { textContent } of shown) titles.add(textContent);
  };
  document.querySelectorAll(".choice button").forEach(press);
  // Every line is hidden, and shown again.
  const lines = [...document.querySelectorAll(".legend button")];
  [...lines, ...lines].forEach(press);
  return [...titles];
}

/** Runs inside the page: what each chart says of itself. */
function chartsInPage() {
  return [...document.querySelectorAll("svg[data-chart]")].map((svg) => {
    const texts = (selector) => [...svg.querySelectorAll(selector)].map((node) => node.textContent);
    return {
      id: svg.dataset.chart,
      title: texts("title")[0],
      description: texts("desc")[0],
      x_title: texts("text.axis.x")[0],
      y_title: texts("text.axis.y")[0],
      x_ticks: texts("text.tick.x"),
      y_ticks: texts("text.tick.y"),
      series: [...svg.querySelectorAll("[data-series]")].map((line) => line.dataset.series),
      broken: svg.outerHTML.includes("NaN") || svg.outerHTML.includes("Infinity"),
    };
  });
}

/** Runs inside the page: labels of charts that lie over each other or leave their chart. */
function overlapsInPage() {
  const faults = [];
  for (const svg of document.querySelectorAll("svg[data-chart]")) {
    const frame = svg.getBoundingClientRect();
    const labels = [...svg.querySelectorAll("text")].map((node) => ({
      text: node.textContent,
      box: node.getBoundingClientRect(),
    }));
    labels.forEach(({ text, box }, index) => {
      const say = (what) => faults.push(`${svg.dataset.chart} ${innerWidth} px: “${text}” ${what}`);
      if (box.left < frame.left - 1 || box.right > frame.right + 1) say("is clipped");
      for (const other of labels.slice(index + 1)) {
        const apart =
          box.right <= other.box.left ||
          other.box.right <= box.left ||
          box.bottom <= other.box.top + 2 ||
          other.box.bottom <= box.top + 2;
        if (!apart) say(`lies over “${other.text}”`);
      }
    });
  }
  return faults;
}

async function takePictures(address, name) {
  const pictures = [
    ["light", { viewport: DESK, colorScheme: "light" }],
    ["dark", { viewport: DESK, colorScheme: "dark" }],
    ["phone", { viewport: PHONE, colorScheme: "light", deviceScaleFactor: 2 }],
  ];
  for (const [kind, options] of pictures) {
    const page = await browser.newPage(options);
    await page.goto(address);
    await drawn(page);
    const path = join(process.env.SCREENSHOTS, `${name}-${kind}.png`);
    await page.screenshot({ path, fullPage: true });
    if (kind === "light") {
      await page.pdf({ path: join(process.env.SCREENSHOTS, `${name}.pdf`), format: "A4" });
    }
    await page.close();
  }
}
