// Puts a WebSocket server to the test with the WebSocket API of a page in headless Chromium.
//
// Usage: node chromium_echo.mjs URL [COMPRESSION]. The URL is one of ws: or wss:, without a path;
// any certificate will do. COMPRESSION is what the server was told: `off`, `shared` (as it does by
// itself) or `dedicated`. Prints one JSON object: which checks passed, which failed and why.
// CHROMIUM names the browser's program, /usr/bin/chromium unless set.

import { chromium } from "playwright-core";

const BROWSER_FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

const [server, mode = "shared"] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  headless: true,
  args: BROWSER_FLAGS,
});
try {
  const page = await browser.newPage({ ignoreHTTPSErrors: true });
  const said = [];
  page.on("console", (message) => said.push(message.text()));
  page.on("pageerror", (error) => said.push(String(error)));
  const opened = await page.goto(`${server.replace("ws", "http")}/`);
  const text = await page.evaluate(() => `${document.title} ${document.body.innerText}`);
  // The page is the server's own, so its sockets carry the origin that a real user's carry.
  const verdict = await page.evaluate(checksInPage, [`${server}/echo`, mode]);
  verdict.client = `Chromium ${browser.version()}`;
  const served = opened.status() === 200 && text.includes("WebSocket server running");
  if (served) verdict.passed.push("GET /");
  else verdict.failed["GET /"] = `status ${opened.status()}, page ${text.slice(0, 200)}`;
  if (said.length === 0) verdict.passed.push("a quiet console");
  else verdict.failed["a quiet console"] = said.join("; ");
  console.log(JSON.stringify(verdict));
} finally {
  await browser.close();
}

/** Runs inside the page, so it can use nothing from this file but its arguments. */
async function checksInPage([url, mode]) {
  const CHECK_MILLISECONDS = 30_000;
  const MEBIBYTE = 1024 * 1024;
  const verdict = { passed: [], failed: {} };
  const messages = {
    text: "Grüße, 世界 😀",
    "empty text": "",
    "empty binary": new Uint8Array(0),
    "binary with every byte": Uint8Array.from({ length: 256 }, (_, byte) => byte),
    "1 MiB binary": Uint8Array.from({ length: MEBIBYTE }, (_, index) => index % 251),
    // Characters of one, two, three and four bytes, to exactly 1 MiB.
    "1 MiB text": "aß語😀".repeat(Math.floor(MEBIBYTE / 10)) + "filler",
  };

  await check("one connection", async () => {
    const socket = await connect();
    for (const [name, message] of Object.entries(messages)) {
      await check(name, () => echoes(socket, message));
    }
    await check("200 messages in order", () => keepsOrder(socket));
    await check("sizes", () => echoesSizes(socket));
    await check("what was agreed to", async () => {
      const [name, ...parameters] = socket.extensions.split(/; */);
      const takeover = ["server_no_context_takeover", "client_no_context_takeover"];
      expectSame(name, mode === "off" ? "" : "permessage-deflate");
      for (const one of takeover) expectSame(parameters.includes(one), mode === "shared");
    });
    socket.close();
  });
  await check("no subprotocol", async () => {
    const socket = await connect();
    expectSame(socket.protocol, "");
    socket.close();
  });
  await check("close 1000", () => closes(1000, ""));
  await check("close 3000 with a reason", () => closes(3000, "bis später"));
  return verdict;

  async function echoes(socket, message) {
    const reply = next(socket, "message");
    socket.send(message);
    const { data } = await reply;
    if (typeof message === "string") {
      expectSame(data, message);
    } else {
      expectSame(new Uint8Array(data).join(), message.join());
    }
  }

  /** Text and binary, each unlike the one before and, in the second round, like one of the first. */
  async function echoesSizes(socket) {
    for (const turn of ["once", "again"]) {
      for (const size of [0, 1, 125, 126, 65_535, 65_536]) {
        const text = `${turn}, größer und größer `.repeat(Math.ceil(size / 20)).slice(0, size);
        await echoes(socket, text);
        await echoes(socket, new TextEncoder().encode(text).subarray(0, size));
      }
    }
  }

  async function keepsOrder(socket) {
    const sent = Array.from({ length: 200 }, (_, number) => `message ${number}`);
    const replies = [];
    const complete = new Promise((resolve) => {
      socket.onmessage = ({ data }) => {
        replies.push(data);
        if (replies.length === sent.length) resolve();
      };
    });
    sent.forEach((message) => socket.send(message));
    await complete;
    expectSame(replies.join(), sent.join());
  }

  async function closes(code, reason) {
    const socket = await connect();
    const closed = next(socket, "close");
    if (reason === "") socket.close(code);
    else socket.close(code, reason);
    const event = await closed;
    expectSame(`${event.code} ${event.reason} ${event.wasClean}`, `${code} ${reason} true`);
  }

  async function connect() {
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    await next(socket, "open");
    return socket;
  }

  /** The next event of a kind; fails if the connection ends instead. */
  function next(socket, kind) {
    return new Promise((resolve, reject) => {
      socket.addEventListener(kind, resolve, { once: true });
      if (kind !== "close") {
        const ended = ({ code }) => reject(new Error(`closed with ${code}`));
        socket.addEventListener("close", ended, { once: true });
      }
    });
  }

  async function check(name, work) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error("no answer in time")), CHECK_MILLISECONDS);
    });
    try {
      await Promise.race([work(), late]);
      verdict.passed.push(name);
    } catch (error) {
      verdict.failed[name] = String(error);
    } finally {
      clearTimeout(timer);
    }
  }

  function expectSame(actual, expected) {
    if (actual !== expected) {
      throw new Error(`received ${excerpt(actual)}, expected ${excerpt(expected)}`);
    }
  }

  function excerpt(text) {
    return text.length <= 200 ? text : `${text.slice(0, 200)}… (${text.length} long)`;
  }
}
