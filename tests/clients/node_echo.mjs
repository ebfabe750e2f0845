// Puts a WebSocket server to the test with Node's `ws` client.
//
// Usage: node node_echo.mjs URL [COMPRESSION [MEBIBYTES]]. The URL is one of ws: or wss:, without a
// path; NODE_EXTRA_CA_CERTS names the authority that vouches for the server. COMPRESSION is what the
// server was told: `off`, `shared` (as it does by itself) or `dedicated`. MEBIBYTES is the size of
// the largest message. Prints one JSON object: which checks passed, which failed and why.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createRequire } from "node:module";
import http from "node:http";
import https from "node:https";
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

/** As long as half of the largest window, and not like itself: said twice, it refers to far before. */
const VARIED_TEXT = Array.from({ length: 3000 }, (_, index) => (index * 7919) % 10_007).join(" ");
/** Where the form of a length changes. */
const SIZES = [0, 1, 125, 126, 65_535, 65_536];
/** Offers, and what the server answers to them; `null`: it declines. */
const OFFERS = [
  [{ serverNoContextTakeover: true }, "server_no_context_takeover; client_max_window_bits=12"],
  [{ clientNoContextTakeover: true }, "client_no_context_takeover; client_max_window_bits=12"],
  [
    { serverNoContextTakeover: true, clientNoContextTakeover: true },
    "server_no_context_takeover; client_no_context_takeover; client_max_window_bits=12",
  ],
  [{ serverMaxWindowBits: 10 }, "server_max_window_bits=10; client_max_window_bits=12"],
  [{ clientMaxWindowBits: 10 }, "client_max_window_bits=10"],
  [
    { serverMaxWindowBits: 9, clientMaxWindowBits: 8, serverNoContextTakeover: true },
    "server_no_context_takeover; server_max_window_bits=9; client_max_window_bits=8",
  ],
  [{ serverMaxWindowBits: 8 }, null],
];

const [server, mode = "shared", largest = "1"] = process.argv.slice(2);
const site = server.replace("ws", "http");
const verdict = { client: clientName(), passed: [], failed: {} };

for (const perMessageDeflate of [false, true]) {
  const label = perMessageDeflate ? "compression offered" : "no compression";
  // The whole connection is a check too: a refused upgrade is reported like any failure.
  await check(`one connection, ${label}`, () => echoChecks(perMessageDeflate, label));
}
for (const [offer, answer] of OFFERS) {
  await check(`offer: ${JSON.stringify(offer)}`, () => takesOffer(offer, answer));
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
  const expected = perMessageDeflate && mode !== "off" ? "permessage-deflate" : "";
  assertSame(socket.extensions, expected);
  for (const [name, message] of Object.entries(MESSAGES)) {
    await check(`${name}, ${label}`, () => echoes(socket, message));
  }
  const texts = ["frag", "men", "", "ted"];
  await check(`fragmented text, ${label}`, () => echoesFragments(socket, texts));
  const binaries = Array.from({ length: 100 }, (_, byte) => Buffer.alloc(1000, byte));
  await check(`fragmented binary, ${label}`, () => echoesFragments(socket, binaries));
  await check(`pings, ${label}`, () => answersPings(socket));
  await check(`200 messages in order, ${label}`, () => keepsOrder(socket));
  await check(`sizes, ${label}`, () => echoesSizes(socket));
  const big = Buffer.alloc(MEBIBYTE * Number(largest), "fedcba9876543210.");
  await check(`the largest, ${label}`, () => echoes(socket, big));
  socket.terminate();
}

/** Text and binary, each unlike the one before and, in the second round, like one of the first. */
async function echoesSizes(socket) {
  for (const turn of ["once", "again"]) {
    for (const size of SIZES) {
      const text = `${turn}, größer und größer `.repeat(Math.ceil(size / 20)).slice(0, size);
      await echoes(socket, text);
      await echoes(socket, Buffer.from(text).subarray(0, size));
      const third = Math.floor(size / 3);
      const parts = [[0, third], [third, 2 * third], [2 * third]];
      await echoesFragments(socket, parts.map(([from, to]) => text.slice(from, to)));
    }
  }
}

/** All that is offered is answered; what the server never does with it is told beside it. */
async function takesOffer(offer, answer) {
  // Without a threshold all messages are compressed, the shortest too.
  const socket = await connect({ perMessageDeflate: { ...offer, threshold: 0 } });
  const [name, ...parameters] = (socket.granted ?? "").split("; ");
  if (answer === null || mode === "off") {
    assertSame(socket.granted, undefined);
    assertSame(socket.extensions, "");
  } else {
    assertSame(name, "permessage-deflate");
    assertSame(socket.extensions, name);
    assert.deepEqual(parameters.sort(), settled(answer));
  }
  await echoesSizes(socket);
  for (const message of [VARIED_TEXT, Buffer.from(VARIED_TEXT), MESSAGES.text, VARIED_TEXT]) {
    await echoes(socket, message);
  }
  socket.terminate();
}

function settled(answer) {
  const parameters = new Set(answer.split("; "));
  if (mode === "shared") {
    parameters.add("server_no_context_takeover").add("client_no_context_takeover");
  }
  return [...parameters].sort();
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
  const response = await fetch(site + path);
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
  const { get } = site.startsWith("https:") ? https : http;
  const [response] = await once(get(`${site}/echo`, { headers }), "response");
  response.resume();
  assertSame(response.statusCode, 426);
  assertSame(response.headers["sec-websocket-version"], "13");
}

async function connect(options) {
  const socket = new WebSocket(`${server}/echo`, options);
  socket.on("upgrade", ({ headers }) => (socket.granted = headers["sec-websocket-extensions"]));
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
