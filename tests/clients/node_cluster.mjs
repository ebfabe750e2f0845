// Many JavaScript clients talk in the rooms of a cluster, and afterwards compare what they heard.
//
// Usage: node node_cluster.mjs URL... [--clients N] [--rooms N] [--rate N] [--seconds N]
//     [--gather N] [--in-flight N] [--mode sequenced|fast] [--name ROOM]
//
// Each client is in one room, and says numbered messages. With several URLs the members of a room
// begin at different ones, and go on to the next at every reconnect; nodes may be killed meanwhile.
// On standard error it says "talking" when all are in their rooms, "gathering" when all is said.
//
// Prints one JSON line; exits with 1 unless each message was confirmed, nobody heard one twice, and
// in each room all who were never told of a gap heard everything in the same order. In fast rooms
// gaps are allowed, and only counted.

import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import WebSocket from "ws";
import { RingwireClient } from "../../clients/js/ringwire.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    clients: { type: "string", default: "20" },
    rooms: { type: "string", default: "4" },
    rate: { type: "string", default: "40" },
    seconds: { type: "string", default: "10" },
    gather: { type: "string", default: "60" },
    "in-flight": { type: "string", default: "1" },
    mode: { type: "string", default: "sequenced" },
    name: { type: "string", default: `cluster-${Date.now() % 1_000_000}` },
  },
});
const urls = positionals.map((url) => new URL(url.replace(/^http/, "ws")));
const [clientCount, roomCount] = [Number(values.clients), Number(values.rooms)];
const isSequenced = values.mode === "sequenced";
const inFlightIsMany = Number(values["in-flight"]) > 1;
if (urls.length === 0 || !["sequenced", "fast"].includes(values.mode)) {
  console.error("usage: node node_cluster.mjs URL... [--clients N] [--rooms N] … (see its head)");
  process.exit(2);
}

/** Nodes that answer nobody are noticed within two of these. */
const HEARTBEAT = { interval: 1_000, timeout: 2_000 };
const BACKOFF = { base: 50, cap: 1_000 };
const CONNECT_TIMEOUT = 3_000;
/** Who has so many unconfirmed says nothing more until some are. */
const PENDING_MAX = 200;
const JOIN_MILLISECONDS = 30_000;
/** What comes twice may come late. */
const LATE_MILLISECONDS = 300;
const FAULTS_MAX = 20;

/** Everything said, by its id. */
const said = new Map();
const started = Date.now();
const faults = [];
const errors = {};

/** A client, and what it heard in its room. */
class Member {
  /** What was delivered: {epoch, offset, id}. */
  log = [];
  /** The places from which on it was told that something is missing. */
  gaps = [];
  opens = 0;
  recoveries = 0;
  #number = 0;

  constructor(index) {
    this.name = `client-${index}`;
    this.room = `${values.name}-${index % roomCount}`;
    // The members of each room are spread over all URLs.
    const first = Math.floor(index / roomCount);
    this.client = new RingwireClient(urls[0], {
      WebSocket: rotating(first),
      username: this.name,
      backoff: BACKOFF,
      heartbeat: HEARTBEAT,
      connectTimeout: CONNECT_TIMEOUT,
      inFlight: Number(values["in-flight"]),
    });
    this.client.on("open", () => (this.opens += 1));
    this.client.on("message", (message) => this.#hear(message));
    this.client.on("recovered", (event) => this.#recovered(event));
    this.client.on("error", ({ kind, message }) => this.#failed(kind, message));
    this.client.connect();
  }

  say() {
    if (this.client.pending.length >= PENDING_MAX) return;
    this.#number += 1;
    const text = `${this.name} ${this.#number}`;
    const promise = this.client.say(this.room, text);
    const entry = { room: this.room, speaker: this.name, number: this.#number };
    entry.at = performance.now();
    said.set(promise.id, entry);
    const confirm = ({ id, text: published }) => {
      if (id !== promise.id || published !== text) fault(`${text} was published as ${published}`);
      entry.confirmedAfter = performance.now() - entry.at;
    };
    promise.then(confirm, (error) => fault(`${text} was rejected: ${error.message}`));
  }

  get wasToldGap() {
    return this.gaps.length > 0;
  }

  #hear({ type, roomId, offset, id }) {
    if (type !== "chat_message") return;
    if (roomId !== this.room) fault(`${this.name} is in ${this.room} and heard ${roomId}`);
    this.log.push({ epoch: this.client.rooms.get(roomId)?.epoch, offset, id });
  }

  #recovered({ recovered, epochChanged, offset, missed }) {
    if (recovered) this.recoveries += 1;
    else this.gaps.push({ epochChanged, offset, missed });
  }

  #failed(kind, message) {
    // What differs from one to the next are numbers and names.
    const key = `${kind}: ${message.replaceAll(/\d+/g, "N")}`;
    errors[key] = (errors[key] ?? 0) + 1;
    const isHole = kind === "protocol" && message.includes(" came after ");
    if (isHole && isSequenced) fault(`${this.name}: untold: ${message}`);
  }
}

const members = Array.from({ length: clientCount }, (_, index) => new Member(index));
const joined = Promise.all(members.map((member) => member.client.join(member.room)));
await Promise.race([joined, sleep(JOIN_MILLISECONDS, "late")]).then((word) => {
  if (word === "late") fault(`not all are in their rooms after ${JOIN_MILLISECONDS} ms`);
});
if (faults.length === 0) {
  console.error("talking");
  await talk();
  console.error("gathering");
  await gather();
}
report();

/** A WebSocket class that takes the URLs one after the other, beginning with a certain one. */
function rotating(first) {
  let next = first;
  return class extends WebSocket {
    constructor() {
      super(urls[next++ % urls.length]);
    }
  };
}

/** One after the other says something, at the rate that was asked for. */
async function talk() {
  const begin = performance.now();
  const end = begin + Number(values.seconds) * 1_000;
  const pause = 1_000 / Number(values.rate);
  for (let count = 0; begin + count * pause < end; count += 1) {
    const wait = begin + count * pause - performance.now();
    if (wait > 0) await sleep(wait);
    members[count % members.length].say();
  }
}

/** Waits until everything is confirmed and heard, or nothing more can be expected. */
async function gather() {
  const patience = Date.now() + Number(values.gather) * 1_000;
  const isConfirmed = () => members.every(({ client }) => client.pending.length === 0);
  const isHeard = () => {
    const counts = new Map();
    for (const { room } of said.values()) counts.set(room, (counts.get(room) ?? 0) + 1);
    const must = members.filter(({ wasToldGap }) => isSequenced && !wasToldGap);
    return must.every(({ room, log }) => log.length >= (counts.get(room) ?? 0));
  };
  while (!(isConfirmed() && isHeard()) && Date.now() < patience) await sleep(20);
  await sleep(LATE_MILLISECONDS);
}

function fault(text) {
  faults.push(text);
}

/** How many messages of its room a member did not hear, heard twice, or heard in another order. */
function judge(member) {
  const heard = new Set(member.log.map(({ id }) => id));
  const confirmed = [...said].filter(([, entry]) => {
    return entry.room === member.room && entry.confirmedAfter !== undefined;
  });
  const missing = confirmed.filter(([id]) => !heard.has(id)).length;
  const duplicate = member.log.length - heard.size;
  let misplaced = 0;
  if (!member.wasToldGap) {
    const numbers = new Map();
    member.log.forEach(({ epoch, offset, id }, index) => {
      const before = member.log[index - 1] ?? { epoch, offset: offset - 1 };
      const isNext = epoch === before.epoch && offset === before.offset + 1;
      const { speaker, number } = said.get(id) ?? {};
      const isInOrder = inFlightIsMany || number > (numbers.get(speaker) ?? 0);
      numbers.set(speaker, number);
      if (!isNext || !isInOrder) misplaced += 1;
    });
  }
  return { missing, duplicate, misplaced };
}

/** Messages that two members of a room heard at different places. */
function disagreements() {
  const places = new Map();
  let count = 0;
  for (const { room, log, wasToldGap } of members) {
    if (wasToldGap) continue;
    for (const { epoch, offset, id } of log) {
      const key = `${room} ${epoch} ${offset}`;
      if (!places.has(key)) places.set(key, id);
      count += places.get(key) !== id;
    }
  }
  return count;
}

function report() {
  const sum = (list, value) => list.reduce((total, item) => total + value(item), 0);
  const verdicts = members.map((member) => ({ ...judge(member), told: member.wasToldGap }));
  const untold = verdicts.filter(({ told }) => !told);
  const waits = [...said.values()].map((entry) => entry.confirmedAfter);
  const confirms = waits.filter((wait) => wait !== undefined).sort((a, b) => a - b);
  const percentile = (share) => Math.round(confirms[Math.floor(share * (confirms.length - 1))]);
  const figures = {
    clients: members.length,
    rooms: Math.min(roomCount, members.length),
    said: said.size,
    confirmed: confirms.length,
    delivered: sum(members, ({ log }) => log.length),
    missing: sum(untold, ({ missing }) => missing),
    duplicate: sum(verdicts, ({ duplicate }) => duplicate),
    misplaced: sum(untold, ({ misplaced }) => misplaced),
    disagreements: disagreements(),
    gapsTold: sum(members, ({ gaps }) => gaps.length),
    membersTold: verdicts.length - untold.length,
    missingTold: sum(verdicts, ({ told, missing }) => (told ? missing : 0)),
    recoveries: sum(members, ({ recoveries }) => recoveries),
    reconnects: sum(members, ({ opens }) => Math.max(0, opens - 1)),
  };
  if (confirms.length > 0) {
    const [p50, p99, max] = [0.5, 0.99, 1].map(percentile);
    figures.confirmMilliseconds = { p50, p99, max };
  }
  if (figures.confirmed < figures.said) {
    fault(`${figures.said - figures.confirmed} of ${figures.said} messages are not confirmed`);
  }
  const forbidden = isSequenced
    ? ["missing", "duplicate", "misplaced", "disagreements"]
    : ["duplicate"];
  for (const name of forbidden) {
    if (figures[name] > 0) fault(`${name}: ${figures[name]}`);
  }
  const ok = faults.length === 0;
  const seconds = Math.round((Date.now() - started) / 100) / 10;
  console.log(
    JSON.stringify({ ok, ...figures, seconds, errors, faults: faults.slice(0, FAULTS_MAX) }),
  );
  process.exit(ok ? 0 : 1);
}
