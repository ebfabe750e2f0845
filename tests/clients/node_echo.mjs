// Puts a WebSocket server to the test with Node's `ws` client.
//
// Usage: node node_echo.mjs HOST:PORT. Prints one JSON object: which checks passed, which failed
// and why.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createRequire } from "node:module";
import http from "node:http";
import WebSocket from "ws";

const CHECK_MILLISECONDS = 30_000;
const MEBIBYTE = 1024 * 1024;
const MESSAGES = {
  text: "Grüße, 世界 😀",
  "empty text": "",
  "empty binary": Buffer.alloc(0),
  "binary with every byte": Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)),
  "1 MiB binary": Buffer.alloc(MEBIBYTE, "0123456789abcdef"),
  // Characters of one, two, three and four bytes, to exactly 1 MiB.
  "1 MiB text": "aß語😀".repeat(Math.floor(MEBIBYTE / 10)) + "filler",
};

const server = process.argv[2];
const verdict = { client: clientName(), passed: [], failed: {} };

for (const perMessageDeflate of [false, true]) {
  const label = perMessageDeflate ? "compression offered" : "no compression";
  // The whole connection is a check too: a refused upgrade is reported like any failure.
  await check(`one connection, ${label}`, () => echoChecks(perMessageDeflate, label));
}
await check("no subprotocol", selectsNoSubprotocol);
await check("close 1000", () => closes(1000, ""));
await check("close 3000 with a reason", () => closes(3000, "bis später"));
await check("GET /", () => answersHttp("/", 200, "WebSocket server running"));
await check("GET /healthz", () => answersHttp("/healthz", 200, "ok"));
await check("GET unknown path", () => answersHttp("/no-such-page", 404, ""));
await check("bad version", refusesBadVersion);
console.log(JSON.stringify(verdict));
// A check that timed out may have left a socket open.
process.exit(0);

async function echoChecks(perMessageDeflate, label) {
  const socket = await connect({ perMessageDeflate });
  for (const [name, message] of Object.entries(MESSAGES)) {
    await check(`${name}, ${label}`, () => echoes(socket, message));
  }
  const texts = ["frag", "men", "", "ted"];
  await check(`fragmented text, ${label}`, () => echoesFragments(socket, texts));
  const binaries = Array.from({ length: 100 }, (_, byte) => Buffer.alloc(1000, byte));
  await check(`fragmented binary, ${label}`, () => echoesFragments(socket, binaries));
  await check(`pings, ${label}`, () => answersPings(socket));
  await check(`200 messages in order, ${label}`, () => keepsOrder(socket));
  socket.terminate();
}

async function echoes(socket, message) {
  const reply = once(socket, "message");
  socket.send(message);
  assertSame(received(await reply), message);
}

/** Sends one message as one frame per fragment. */
async function echoesFragments(socket, fragments) {
  const reply = once(socket, "message");
  fragments.forEach((fragment, index) => {
    socket.send(fragment, { fin: index === fragments.length - 1 });
  });
  const isText = typeof fragments[0] === "string";
  assertSame(received(await reply), isText ? fragments.join("") : Buffer.concat(fragments));
}

async function answersPings(socket) {
  for (const payload of ["", "payload", "x".repeat(125)]) {
    const pong = once(socket, "pong");
    socket.ping(payload);
    assertSame((await pong).toString(), payload);
  }
}

async function keepsOrder(socket) {
  const sent = Array.from({ length: 200 }, (_, number) => `message ${number}`);
  const replies = [];
  const complete = new Promise((resolve) => {
    socket.on("message", (data) => {
      replies.push(data.toString());
      if (replies.length === sent.length) resolve();
    });
  });
  sent.forEach((message) => socket.send(message));
  await complete;
  assert.deepEqual(replies, sent);
}

async function selectsNoSubprotocol() {
  const socket = await connect({});
  assertSame(socket.protocol, "");
  socket.terminate();
}

async function closes(code, reason) {
  const socket = await connect({});
  const closed = once(socket, "close");
  socket.close(code, reason);
  const [receivedCode, receivedReason] = await closed;
  assert.deepEqual([receivedCode, receivedReason.toString()], [code, reason]);
}

async function answersHttp(path, status, text) {
  const response = await fetch(`http://${server}${path}`);
  assertSame(response.status, status);
  const body = await response.text();
  assert.ok(body.includes(text), `${text} is not in the body ${body.slice(0, 200)}`);
}

/** RFC 6455 section 4.4: 426 and the version that the server speaks. */
async function refusesBadVersion() {
  const headers = {
    Connection: "Upgrade",
    Upgrade: "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "12",
  };
  const [response] = await once(http.get(`http://${server}/echo`, { headers }), "response");
  response.resume();
  assertSame(response.statusCode, 426);
  assertSame(response.headers["sec-websocket-version"], "13");
}

async function connect(options) {
  const socket = new WebSocket(`ws://${server}/echo`, options);
  await once(socket, "open");
  return socket;
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

/** A message as it was sent: text as a string, binary as a buffer. */
function received([data, isBinary]) {
  return isBinary ? data : data.toString();
}

function assertSame(actual, expected) {
  const same = Buffer.isBuffer(expected)
    ? Buffer.isBuffer(actual) && expected.equals(actual)
    : actual === expected;
  assert.ok(same, `received ${excerpt(actual)}, expected ${excerpt(expected)}`);
}

function excerpt(value) {
  const whole = Buffer.isBuffer(value) ? `binary ${value.toString("hex")}` : String(JSON.stringify(value));
  return whole.length <= 200 ? whole : `${whole.slice(0, 200)}… (${value.length} long)`;
}

function clientName() {
  const { version } = createRequire(import.meta.url)("ws/package.json");
  return `node ${process.version}, ws ${version}`;
}
