// Watches the feed of the admin listener with Node's `ws` client.
//
// Usage: node node_feed.mjs HOST:PORT [TOKEN]. Prints one JSON object: which checks passed, which
// failed and why.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createRequire } from "node:module";
import WebSocket from "ws";

const CHECK_MILLISECONDS = 30_000;
const SUBPROTOCOL = "ringwire.overview.v1";

const [server, token] = process.argv.slice(2);
const bearer = token ? [`bearer.${Buffer.from(token).toString("base64url")}`] : [];
const { version } = createRequire(import.meta.url)("ws/package.json");
const verdict = { client: `node ${process.version}, ws ${version}`, passed: [], failed: {} };

await check("an overview every second", overviewsCome);
await check("a ping is answered", pingIsAnswered);
await check("close 1000", closes);
await check("a wrong token", wrongTokenIsRefused);
console.log(JSON.stringify(verdict));
// A check that timed out may have left a socket open.
process.exit(0);

async function overviewsCome() {
  const socket = await connect([SUBPROTOCOL, ...bearer]);
  assert.equal(socket.protocol, SUBPROTOCOL);
  const overviews = [];
  while (overviews.length < 3) {
    const [data, isBinary] = await once(socket, "message");
    assert.equal(isBinary, false);
    overviews.push(JSON.parse(data.toString()));
  }
  for (const [index, overview] of overviews.entries()) {
    assert.equal(overview.state, "serving");
    assert.equal(overview.shards.length, 1);
    assert.equal(typeof overview.rates.messagesReceived, "number");
    if (index > 0) {
      const seconds = overview.uptimeSeconds - overviews[index - 1].uptimeSeconds;
      assert.ok(seconds > 0.5, `${seconds} s apart`);
    }
  }
  socket.terminate();
}

async function pingIsAnswered() {
  const socket = await connect([SUBPROTOCOL, ...bearer]);
  const pong = once(socket, "pong");
  socket.ping("there?");
  assert.equal((await pong)[0].toString(), "there?");
  socket.terminate();
}

async function closes() {
  const socket = await connect([SUBPROTOCOL, ...bearer]);
  const closed = once(socket, "close");
  socket.close(1000, "seen enough");
  assert.equal((await closed)[0], 1000);
}

async function wrongTokenIsRefused() {
  const socket = new WebSocket(`ws://${server}/api/feed`, [SUBPROTOCOL, "bearer.d3Jvbmc"]);
  const outcome = await Promise.race([
    once(socket, "unexpected-response").then(([, response]) => response.statusCode),
    once(socket, "open").then(() => 101),
  ]);
  socket.on("error", () => {});
  socket.terminate();
  assert.equal(outcome, token ? 401 : 101);
}

async function connect(protocols) {
  const socket = new WebSocket(`ws://${server}/api/feed`, protocols);
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
