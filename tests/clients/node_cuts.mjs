// The JavaScript client against a chat server, through proxies that cut connections 1,000 times.
//
// Usage: node node_cuts.mjs URL [--cuts N] [--seed N] [--in-flight N]. The server must have no rate
// limit. Prints one JSON line; exits with 1 when a message was lost, came twice or out of order.
//
// A sender and a listener each have a proxy of their own. An anchor stays in the room all the time,
// directly: an empty room would be forgotten by the server, and its history with it.

import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import WebSocket from "ws";
import { RingwireClient } from "../../clients/js/ringwire.js";
import { FaultProxy } from "./fault_proxy.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    cuts: { type: "string", default: "1000" },
    seed: { type: "string", default: String(Date.now() % 1_000_000_000) },
    "in-flight": { type: "string", default: "1" },
  },
});
const url = new URL(positionals[0]);
const cutsWanted = Number(values.cuts);
const seed = Number(values.seed);
const random = mulberry32(seed);

const HEARTBEAT = { interval: 250, timeout: 250 };
/** Long enough that the heartbeat notices; afterwards the old bytes come late. */
const HOLE_MILLISECONDS = 700;
/** One fault in so many is a black hole. */
const HOLE_EVERY = 60;
/** A connection that does not reach its number of bytes is cut after so long. */
const CUT_MILLISECONDS = 150;
const CUT_BYTES = 3000;
const PENDING_MAX = 20;
const GATHER_MILLISECONDS = 30_000;
const DEADLINE_MILLISECONDS = 170_000;
const ROOM = `cuts-${seed}`;

const target = { host: url.hostname.replace(/[[\]]/g, ""), port: Number(url.port || 80) };
const started = Date.now();
const faults = [];
const deadline = setTimeout(() => {
  faults.push(`not done after ${DEADLINE_MILLISECONDS} ms`);
  report();
}, DEADLINE_MILLISECONDS);

const proxies = [await FaultProxy.start(target), await FaultProxy.start(target)];
const sender = member("sender", proxies[0].port, seed + 1);
const listener = member("listener", proxies[1].port, seed + 2);
const anchor = member("anchor", target.port, seed + 3);
const members = [sender, listener, anchor];
await Promise.all(members.map(({ client }) => client.join(ROOM)));

let holes = 0;
let isCutting = true;
const said = [];
const confirmed = [];
const saying = say();
await Promise.all(proxies.map((proxy, index) => cut(proxy, mulberry32(seed + 10 + index))));
isCutting = false;
await saying;
await gather();
report();

/** A client in the room, and what it hears there. */
function member(name, port, ownSeed) {
  const address = new URL(url);
  if (name !== "anchor") address.host = `127.0.0.1:${port}`;
  const client = new RingwireClient(address, {
    WebSocket,
    backoff: { base: 5, cap: 20 },
    heartbeat: HEARTBEAT,
    connectTimeout: 500,
    inFlight: Number(values["in-flight"]),
    random: mulberry32(ownSeed),
  });
  const state = { name, client, texts: [], recoveries: 0, missed: 0 };
  client.on("message", ({ type, text }) => type === "chat_message" && state.texts.push(text));
  client.on("error", ({ kind, message }) => {
    if (kind !== "network") faults.push(`${name}: ${kind}: ${message}`);
  });
  client.on("recovered", ({ recovered, missed }) => {
    state.recoveries += 1;
    state.missed += missed ?? 0;
    if (!recovered) faults.push(`${name}: a re-join was not recovered`);
  });
  client.connect();
  return state;
}

/** Says numbered messages until the cuts are done, never far ahead of what is confirmed. */
async function say() {
  while (isCutting) {
    if (sender.client.pending.length < PENDING_MAX) {
      const text = String(said.length);
      said.push(text);
      const confirm = (message) => confirmed.push(message.text);
      sender.client.say(ROOM, text).then(confirm, (error) => {
        faults.push(`message ${text} was rejected: ${error.message}`);
      });
    }
    await sleep(random() * 10);
  }
}

/** Breaks the connections of one proxy, half of all times. */
async function cut(proxy, chance) {
  for (let fault = 1; proxy.cuts < cutsWanted / proxies.length; fault += 1) {
    if (fault % HOLE_EVERY === 0) {
      holes += 1;
      proxy.blackHole(true);
      await sleep(HOLE_MILLISECONDS);
      proxy.blackHole(false);
    }
    const before = proxy.cuts;
    const direction = chance() < 0.5 ? "up" : "down";
    const manner = chance() < 0.5 ? "reset" : "end";
    // Small numbers are the likeliest: they hit the handshake, the join and the replay.
    const bytes = Math.floor(CUT_BYTES ** chance());
    await sleep(chance() * 40);
    proxy.cutAfter(bytes, direction, manner);
    const patience = Date.now() + chance() * CUT_MILLISECONDS;
    while (proxy.cuts === before && Date.now() < patience) await sleep(2);
    if (proxy.cuts === before) proxy.cut(manner);
  }
}

/** Waits until everything said is confirmed and heard, or nothing more can be expected. */
async function gather() {
  const patience = Date.now() + GATHER_MILLISECONDS;
  const isDone = () =>
    confirmed.length === said.length && members.every(({ texts }) => texts.length >= said.length);
  while (!isDone() && Date.now() < patience) await sleep(20);
  // What came twice may come late.
  await sleep(200);
}

function report() {
  clearTimeout(deadline);
  if (confirmed.length !== said.length) {
    faults.push(`${said.length - confirmed.length} of ${said.length} promises are not resolved`);
  }
  for (const { name, texts } of members) {
    const wrong = texts.findIndex((text, index) => text !== said[index]);
    if (wrong !== -1) faults.push(`${name}: message ${wrong} is ${texts[wrong]}`);
    if (texts.length !== said.length) faults.push(`${name}: ${texts.length} of ${said.length}`);
  }
  const ok = faults.length === 0;
  const cuts = proxies[0].cuts + proxies[1].cuts;
  const recoveries = sender.recoveries + listener.recoveries;
  const replayed = sender.missed + listener.missed;
  const seconds = Math.round((Date.now() - started) / 100) / 10;
  const counts = { cuts, holes, messages: said.length, recoveries, replayed, seconds };
  console.log(JSON.stringify({ ok, seed, ...counts, faults: faults.slice(0, 20) }));
  process.exit(ok ? 0 : 1);
}

/** Small and seeded: the faults of a run can be had again, their moments nearly so. */
function mulberry32(state) {
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), 1 | state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 4_294_967_296;
  };
}
