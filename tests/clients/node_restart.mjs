// The JavaScript client in Node, whose server is killed and started again.
//
// Usage: node node_restart.mjs PROGRAM [ARGUMENT...]: the command line of the server; with a
// certificate it is asked for TLS, and NODE_EXTRA_CA_CERTS names the authority that vouches for it.
// Prints one JSON object: which checks passed, which failed and why.

import assert from "node:assert/strict";
import WebSocket from "ws";
import { RingwireClient } from "../../clients/js/ringwire.js";
import { ServerProcess, freePort } from "./server_process.mjs";

const ROOM = "harbour";
const WAIT_MILLISECONDS = 20_000;
/** Long enough that both ends compress it. */
const LONG = "to and fro, ".repeat(80);

const sockets = [];

class KnownSocket extends WebSocket {
  constructor(...given) {
    super(...given);
    sockets.push(this);
  }
}

const port = await freePort();
const server = new ServerProcess(process.argv.slice(2), port);
const verdict = { client: `ringwire.js on node ${process.version}`, passed: [], failed: {} };
const faults = [];
const [ada, bob] = ["Ada", "Bob"].map(member);
const checks = [
  ["both talk", talk],
  ["compression was agreed to", agree],
  ["the server is killed and comes back", survive],
  ["compression was agreed to again", agree],
  ["no faults", () => assert.deepEqual(faults, [])],
];
try {
  await server.start();
  for (const { client } of [ada, bob]) client.connect();
  for (const [name, work] of checks) {
    try {
      await inTime(work());
      verdict.passed.push(name);
    } catch (error) {
      verdict.failed[name] = [error.stack, ...faults].join("\n");
      break;
    }
  }
} finally {
  for (const { client } of [ada, bob]) client.close();
  await server.kill();
}
console.log(JSON.stringify(verdict));
process.exit(0);

/** A client, and the texts that it hears. */
function member(username) {
  // As the page of the server would write it; it is the client that asks for a WebSocket.
  const client = new RingwireClient(`${server.scheme}://127.0.0.1:${port}/chat`, {
    WebSocket: KnownSocket,
    username,
    backoff: { base: 20, cap: 200 },
  });
  const texts = [];
  client.on("message", ({ type, text }) => type === "chat_message" && texts.push(text));
  client.on("error", ({ kind, message }) => {
    if (kind !== "network") faults.push(`${username}: ${kind}: ${message}`);
  });
  return { client, texts };
}

async function talk() {
  await Promise.all([ada.client.join(ROOM), bob.client.join(ROOM)]);
  for (const text of ["hello", LONG, `${LONG}again`]) {
    await ada.client.say(ROOM, text);
    await bob.client.say(ROOM, `${text}, too`);
  }
  const all = ["hello", LONG, `${LONG}again`].flatMap((text) => [text, `${text}, too`]);
  await hears(ada, all);
  await hears(bob, all);
}

/** The two sockets that are open are of the scheme of the server, and compress. */
async function agree() {
  const last = sockets.filter(({ readyState }) => readyState === WebSocket.OPEN);
  assert.equal(last.length, 2);
  for (const { url, extensions } of last) {
    assert.equal(url, `${server.socketScheme}://127.0.0.1:${port}/chat`);
    assert.equal(extensions, "permessage-deflate");
  }
}

async function survive() {
  const back = [ada, bob].map(({ client }) => next(client, "recovered"));
  const gone = [ada, bob].map(({ client }) => next(client, "close"));
  await server.kill();
  await Promise.all(gone);
  const said = ada.client.say(ROOM, `${LONG}while nobody listened`);
  await server.start();
  for (const event of await Promise.all(back)) {
    assert.equal(event.recovered, false, "a new server has no history");
  }
  assert.equal((await said).text, `${LONG}while nobody listened`);
  // Who came back last has not heard what was said before; what comes now is for both.
  await bob.client.say(ROOM, `${LONG}and now`);
  await heard(ada, `${LONG}and now`);
  await heard(bob, `${LONG}and now`);
  assert.equal(ada.texts.filter((text) => text === `${LONG}while nobody listened`).length, 1);
}

async function hears({ client, texts }, all) {
  while (texts.length < all.length) await next(client, "message");
  assert.deepEqual(texts, all);
}

async function heard({ client, texts }, text) {
  while (!texts.includes(text)) await next(client, "message");
}

function next(client, name) {
  return new Promise((resolve) => {
    const off = client.on(name, (event) => {
      off();
      resolve(event);
    });
  });
}

async function inTime(work) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("no answer in time")), WAIT_MILLISECONDS);
  });
  await Promise.race([work, late]).finally(() => clearTimeout(timer));
}
