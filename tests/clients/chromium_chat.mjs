// Two people chat on the page of the server, in headless Chromium; then the line is cut, and the
// server is killed.
//
// Usage: node chromium_chat.mjs PROGRAM [ARGUMENT...]: the command line of the server, to which
// `--listen HOST:PORT` is added, or `--tls-listen` if it names a certificate; the server is started,
// killed and started again. NODE_EXTRA_CA_CERTS names the authority that vouches for it. Prints one
// JSON object: which checks passed, which failed and why. CHROMIUM names the browser's program,
// /usr/bin/chromium unless set. SCREENSHOTS names a folder for pictures.

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import net from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  DESK,
  agree,
  enterRoom,
  extensions,
  launch,
  open,
  say,
  sees,
  staysClean,
  texts,
} from "./chat_page.mjs";
import { ServerProcess, freePort } from "./server_process.mjs";

const CUT_MILLISECONDS = 5000;
const MARKUP = [
  `<img src=x onerror="window.ran = 'img'">`,
  `<script>window.ran = 'script'</script>`,
  `<svg onload="window.ran = 'svg'"></svg><b>&amp;</b>`,
];
const PHONE = { width: 360, height: 740 };

/** A line to the server that can be cut: a TCP proxy. */
class Line {
  #to;
  #listener;
  #sockets = new Set();

  constructor(to, port) {
    this.#to = to;
    this.port = port;
  }

  async mend() {
    this.#listener = net.createServer((near) => {
      const far = net.connect(this.#to, "127.0.0.1");
      for (const [socket, other] of [[near, far], [far, near]]) {
        this.#sockets.add(socket);
        socket.on("error", () => other.destroy());
        socket.on("close", () => this.#sockets.delete(socket));
        socket.pipe(other);
      }
    });
    this.#listener.listen(this.port, "127.0.0.1");
    await once(this.#listener, "listening");
  }

  /** Nothing is forwarded any more, all connections are reset, new ones are refused. */
  async cut() {
    if (!this.#listener?.listening) return;
    const closed = once(this.#listener, "close");
    this.#listener.close();
    for (const socket of this.#sockets) socket.resetAndDestroy();
    await closed;
  }
}

const port = await freePort();
const server = new ServerProcess(process.argv.slice(2), port);
const line = new Line(port, await freePort());
const verdict = { client: "Chromium", passed: [], failed: {} };
const faults = [];
let browser;
try {
  await server.start();
  await line.mend();
  browser = await launch();
  verdict.client = `Chromium ${browser.version()}`;
  await chat();
} finally {
  await browser?.close();
  await line.cut();
  await server.kill();
}
console.log(JSON.stringify(verdict));

function origin(at) {
  return `${server.scheme}://127.0.0.1:${at}`;
}

async function chat() {
  // Ada's line can be cut; Grace's is direct.
  const ada = await open(browser, origin(line.port), "Ada", faults);
  const grace = await open(browser, origin(port), "Grace", faults);
  const both = [ada, grace];
  const checks = [
    ["headers of the page", () => hasHeaders()],
    ["start", () => starts(ada)],
    ["join", () => joins(ada, grace)],
    ["chat", () => chats(ada, grace)],
    ["markup is text", () => showsMarkup(ada, grace)],
    ["long messages", () => wraps(ada, grace)],
    ["reading above the end", () => readsAbove(ada, grace)],
    ["the line is cut", () => survivesCut(ada, grace)],
    ["the server is killed", () => survivesKill(ada, grace)],
    ["change of the room", () => changesRoom(ada, grace)],
    ["a bad address", () => refusesAddress(ada)],
    ["a long log", () => prunes(ada)],
    ["reload", () => reloads(ada, grace)],
    ["leave", () => leaves(ada, grace)],
    ["nothing foreign", () => staysClean(both, faults)],
  ];
  for (const [name, work] of checks) {
    try {
      await work();
      verdict.passed.push(name);
    } catch (error) {
      // What follows builds on it.
      const [first, second] = await Promise.all(
        both.map((page) => page.locator("body").innerText()),
      );
      const seen = `--- Ada sees:\n${first}\n--- Grace sees:\n${second}`;
      verdict.failed[name] = [error.stack, ...faults, seen].join("\n");
      await shoot(ada, "failed");
      return;
    }
  }
}

// --- The checks.

async function hasHeaders() {
  const kinds = { "/": "html", "/page.css": "css", "/page.js": "javascript" };
  for (const [path, kind] of Object.entries({ ...kinds, "/client.js": "javascript" })) {
    const response = await fetch(`${origin(port)}${path}`);
    assert.equal(response.status, 200, path);
    assert.equal(response.headers.get("content-type"), `text/${kind}; charset=utf-8`);
    assert.equal(response.headers.get("x-content-type-options"), "nosniff");
    const policy = response.headers.get("content-security-policy");
    assert.match(policy, /^default-src 'none'; script-src 'self';/);
    assert.doesNotMatch(policy, /unsafe/);
  }
}

async function starts(page) {
  assert.match(await page.locator("body").innerText(), /WebSocket server running/);
  await shoot(page, "start");
}

async function joins(ada, grace) {
  await enterRoom(ada, "Ada", "lobby");
  await ada.getByText("You joined: only you here now").waitFor();
  await enterRoom(grace, "Grace", "lobby");
  await ada.getByText("Someone joined: 2 here now").waitFor();
  for (const page of [ada, grace]) {
    await page.getByText("2 here", { exact: true }).waitFor();
    assert.equal(new URL(page.url()).hash, "#room=lobby");
    assert.match(await extensions(page), /^permessage-deflate/);
  }
}

async function chats(ada, grace) {
  await say(ada, "Good morning, Grace 👋");
  await sees(grace, "Good morning, Grace 👋");
  await say(grace, "Grüß dich, Ada");
  await say(grace, "is the new build up?");
  await sees(ada, "is the new build up?");
  await agree([ada, grace], [
    "Good morning, Grace 👋",
    "Grüß dich, Ada",
    "is the new build up?",
  ]);
  const own = (page) => page.locator(".message.own .text").allTextContents();
  assert.deepEqual(await own(ada), ["Good morning, Grace 👋"]);
  assert.deepEqual(await own(grace), ["Grüß dich, Ada", "is the new build up?"]);
  assert.equal(await grace.locator(".message:not(.own) .by").first().textContent(), "Ada");
}

async function showsMarkup(ada, grace) {
  const name = `<i onclick=ran>Eve</i>`;
  const eve = await open(browser, origin(port), "Eve", faults);
  await enterRoom(eve, name, "lobby");
  const before = await texts(ada);
  for (const text of MARKUP) await say(eve, text);
  await sees(ada, MARKUP.at(-1));
  await sees(grace, MARKUP.at(-1));
  await agree([ada, grace], [...before, ...MARKUP]);
  const names = await ada.locator(".message:not(.own) .by").allTextContents();
  assert.equal(names.at(-1), name);
  for (const page of [ada, grace, eve]) {
    const found = await page.locator("#log :is(img, script, svg, b, i)").count();
    assert.equal(found, 0, "markup in the log");
    assert.equal(await page.evaluate(() => window.ran), undefined);
  }
  await staysClean([eve], faults);
  await eve.close();
  await ada.getByText("Someone left: 2 here now").waitFor();
  await ada.getByText("2 here", { exact: true }).waitFor();
}

async function wraps(ada, grace) {
  const field = grace.getByRole("textbox", { name: "Message" });
  // Characters of two UTF-16 units count once.
  await field.fill("😀".repeat(1001));
  await grace.getByText("1001 / 1000").waitFor();
  assert.ok(await grace.getByRole("button", { name: "Send" }).isDisabled());
  const long = `${"a".repeat(980)} ${"😀".repeat(19)}`;
  await say(grace, long);
  await ada.setViewportSize(PHONE);
  await sees(ada, long);
  const widths = await ada.evaluate(() => [
    document.documentElement.scrollWidth,
    document.getElementById("scroller").scrollWidth,
    innerWidth,
  ]);
  assert.deepEqual(widths, [PHONE.width, PHONE.width, PHONE.width]);
}

async function readsAbove(ada, grace) {
  const scroller = ada.locator("#scroller");
  for (let number = 1; number <= 5; number += 1) {
    await say(grace, `line\nby\nline\n${number}`);
  }
  await sees(ada, "line\nby\nline\n5");
  await ada.waitForFunction(isAtEnd);
  await scroller.evaluate((element) => element.scrollTo(0, 0));
  await ada.locator("#scroller.above").waitFor();
  await say(grace, "are you still reading?");
  await ada.getByRole("button", { name: "1 new message" }).waitFor();
  assert.equal(await scroller.evaluate((element) => element.scrollTop), 0);
  await ada.getByRole("button", { name: "1 new message" }).click();
  await ada.waitForFunction(isAtEnd);
  await ada.getByRole("button", { name: "1 new message" }).waitFor({ state: "hidden" });
  for (const size of [DESK, PHONE, DESK]) {
    await ada.setViewportSize(size);
    await ada.waitForFunction(isAtEnd);
  }
  await shoot(ada, "connected");
}

async function survivesCut(ada, grace) {
  const before = await texts(ada);
  await line.cut();
  const cutAt = performance.now();
  await ada.getByText("Reconnecting", { exact: true }).waitFor();
  const [typed, said] = [[], []];
  for (let number = 1; number <= 5; number += 1) {
    said.push(`Grace ${number} of 5`);
    await say(grace, said.at(-1));
    if (number > 3) continue;
    typed.push(`Ada ${number} of 3`);
    await say(ada, typed.at(-1));
  }
  await ada.getByText(/\b3 waiting/).waitFor();
  assert.equal(await ada.locator(".message.pending").count(), 3);
  await grace.getByText("Someone left: only you here now").waitFor();
  await sleep(CUT_MILLISECONDS - (performance.now() - cutAt));
  await line.mend();
  await sees(grace, typed.at(-1));
  await sees(ada, typed.at(-1));
  await ada.getByText("Connected", { exact: true }).waitFor();
  await agree([ada, grace], [...before, ...said, ...typed]);
  await ada.getByText("Back again: nothing was missed").waitFor();
  for (const page of [ada, grace]) await page.getByText("2 here", { exact: true }).waitFor();
}

async function survivesKill(ada, grace) {
  const divider = "history starts anew: messages may be missing";
  const before = await texts(ada);
  await line.cut();
  await server.kill();
  for (const page of [ada, grace]) {
    await page.getByText("Reconnecting", { exact: true }).waitFor();
    assert.equal(await page.getByText(divider).count(), 0);
  }
  await say(ada, "typed while the server was gone");
  await say(ada, "and this, too");
  await ada.getByText(/\b2 waiting/).waitFor();
  await shoot(ada, "reconnecting");
  await server.start();
  // A new server has no history: only who is back first hears what the other one says.
  await grace.getByText(divider).waitFor();
  await grace.getByText("1 here", { exact: true }).waitFor();
  await line.mend();
  await ada.getByText(divider).waitFor();
  const all = [...before, "typed while the server was gone", "and this, too"];
  await sees(grace, all.at(-1));
  await sees(ada, all.at(-1));
  await agree([ada, grace], all);
  for (const page of [ada, grace]) {
    await page.getByText("Connected", { exact: true }).waitFor();
    await page.getByText("2 here", { exact: true }).waitFor();
    const below = page.locator(".divider ~ .message .text");
    assert.deepEqual(await below.allTextContents(), all.slice(-2));
  }
  await ada.waitForFunction(isAtEnd);
  await shoot(ada, "returned");
}

async function changesRoom(ada, grace) {
  await ada.getByRole("button", { name: "Change room" }).click();
  const dialog = ada.getByRole("dialog", { name: "Change room" });
  await dialog.getByRole("textbox", { name: "Room" }).fill("Küche 🍳");
  await shoot(ada, "change");
  await dialog.getByRole("button", { name: "Go" }).click();
  await ada.getByRole("heading", { name: "Küche 🍳" }).waitFor();
  await grace.getByText("1 here", { exact: true }).waitFor();
  assert.deepEqual(await texts(ada), []);
  await say(ada, "nobody here?");
  await ada.locator(".message:not(.pending)").waitFor();
  assert.ok(!(await texts(grace)).includes("nobody here?"));
  await ada.goBack();
  await ada.getByRole("heading", { name: "lobby" }).waitFor();
  for (const page of [ada, grace]) await page.getByText("2 here", { exact: true }).waitFor();
}

async function refusesAddress(page) {
  for (const room of ["%20", "a%0Ab", "x".repeat(51)]) {
    await page.evaluate((name) => (location.hash = `room=${name}`), room);
    await page.waitForFunction(() => location.hash === "#room=lobby");
    await page.getByRole("heading", { name: "lobby" }).waitFor();
  }
}

async function prunes(page) {
  await page.evaluate(() => {
    const lines = Array.from({ length: 3000 }, () => document.createElement("p"));
    document.getElementById("log").prepend(...lines);
  });
  await say(page, "only I talk");
  await sees(page, "only I talk");
  assert.equal(await page.locator("#log > *").count(), 2000);
}

async function reloads(ada, grace) {
  await ada.reload();
  for (const page of [ada, grace]) await page.getByText("2 here", { exact: true }).waitFor();
  await say(ada, "I am back");
  await sees(grace, "I am back");
  const by = await grace.locator(".message:not(.own) .by").allTextContents();
  assert.equal(by.at(-1), "Ada");
}

async function leaves(ada, grace) {
  await line.cut();
  await ada.getByText("Reconnecting", { exact: true }).waitFor();
  await say(ada, "too late");
  await ada.getByText(/\b1 waiting/).waitFor();
  await ada.getByRole("button", { name: "Leave" }).click();
  await ada.getByRole("heading", { name: "Join a room" }).waitFor();
  await ada.getByText("1 message may not have been sent").waitFor();
  await grace.getByText("1 here", { exact: true }).waitFor();
  assert.equal(await ada.getByLabel("Your name").inputValue(), "Ada");
}

function isAtEnd() {
  const { scrollHeight, scrollTop, clientHeight } = document.getElementById("scroller");
  return scrollHeight > clientHeight && scrollHeight - scrollTop - clientHeight < 2;
}

/** Pictures of the page as it is: desk and phone, light and dark. */
async function shoot(page, name) {
  const folder = process.env.SCREENSHOTS;
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  for (const [device, viewport] of Object.entries({ desk: DESK, phone: PHONE })) {
    await page.setViewportSize(viewport);
    for (const colorScheme of ["dark", "light"]) {
      await page.emulateMedia({ colorScheme });
      await sleep(700);
      await page.screenshot({ path: join(folder, `${name}-${device}-${colorScheme}.png`) });
    }
  }
  await page.setViewportSize(DESK);
}
