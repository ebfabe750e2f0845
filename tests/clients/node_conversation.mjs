// Holds a conversation with a chat server, frame by frame, with Node's `ws` client.
//
// Usage: node node_conversation.mjs URL. Prints one JSON object: {"ok":true,"checks":N}, or what went
// wrong, and then exits with 1.
//
// Every frame that a client gets is compared, in order and with all its fields, and at the end there
// is none left: so what nobody should hear is noticed, too.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import WebSocket from "ws";

const WAIT_MILLISECONDS = 10_000;
const NO_EPOCHS = ["ffffffffffffffff", "FFFFFFFFFFFFFFFF", "none of yours"];
const TEXT = 'Grüße, 世界 😀 "quoted" \\ <b>\n\tand\u2028so on';
const INVALID_JSON = "Invalid JSON";
const INVALID_FORMAT = "Invalid message format";
const NOT_IN_ROOM = "Not in room";
const BAD_MESSAGES = [
  ["", INVALID_JSON],
  ["hello", INVALID_JSON],
  ['{"type":"ping"', INVALID_JSON],
  ['{"type":"ping"} x', INVALID_JSON],
  ['{"type":"chat_message","text":"\\ud83d"}', INVALID_JSON],
  ["[]", INVALID_FORMAT],
  ["{}", INVALID_FORMAT],
  ['{"type":5}', INVALID_FORMAT],
  ['{"type":"dance"}', INVALID_FORMAT],
  ['{"type":"join_room"}', INVALID_FORMAT],
  [JSON.stringify({ type: "join_room", roomId: "r".repeat(51) }), INVALID_FORMAT],
  [JSON.stringify({ type: "chat_message", text: "" }), INVALID_FORMAT],
  [JSON.stringify({ type: "chat_message", text: "😀".repeat(1001) }), INVALID_FORMAT],
  [Buffer.from('{"type":"ping"}'), INVALID_FORMAT],
  [JSON.stringify({ type: "chat_message", roomId: "elsewhere", text: "a" }), NOT_IN_ROOM],
  [JSON.stringify({ type: "leave_room", roomId: "elsewhere" }), NOT_IN_ROOM],
];

let checks = 0;

/** One connection, greeted. */
class Client {
  static async connect(url) {
    const client = new Client(new WebSocket(url));
    const { type, message, timestamp, connectionId, ...others } = await client.hear();
    assertSame([type, message, others], ["welcome", "Connected to server", {}]);
    assertTime(timestamp);
    assertSame(typeof connectionId, "string");
    assertSame(connectionId !== "", true);
    client.id = connectionId;
    client.name = `guest-${connectionId}`;
    return client;
  }

  #heard = [];
  #wake = () => {};
  #end = null;

  constructor(socket) {
    this.socket = socket;
    socket.on("message", (data, isBinary) => {
      this.#heard.push(isBinary ? data : data.toString());
      this.#wake();
    });
    socket.on("error", (error) => this.#ended(`failed: ${error}`));
    socket.on("close", (code, reason) => this.#ended(`closed: ${code} ${reason}`));
  }

  #ended(how) {
    this.#end ??= how;
    this.#wake();
  }

  say(type, fields = {}) {
    this.socket.send(JSON.stringify({ type, ...fields }));
  }

  async hear() {
    if (this.#heard.length === 0 && this.#end === null) {
      await soon(new Promise((resolve) => (this.#wake = resolve)));
    }
    assert.ok(this.#heard.length > 0, `the connection has ${this.#end}`);
    const payload = this.#heard.shift();
    assertSame(typeof payload, "string");
    return JSON.parse(payload);
  }

  async hears(type, fields = {}) {
    assertSame(await this.hear(), { type, ...fields });
  }

  async hearsNothingElse() {
    this.say("ping");
    await this.hears("pong");
  }

  async close() {
    this.socket.close();
    if (this.#end === null) {
      await soon(new Promise((resolve) => (this.#wake = resolve)));
    }
  }

  /** Joins, and returns the epoch. */
  async join(roomId, userCount, offset, recovered = false, fields = {}) {
    this.say("join_room", { roomId, ...fields });
    const { epoch, ...joined } = await this.hear();
    assertSame(/^[0-9a-f]{16}$/.test(epoch), true);
    assertSame(joined, { type: "room_joined", roomId, userCount, offset, recovered });
    return epoch;
  }
}

try {
  await converse(process.argv[2]);
  console.log(JSON.stringify({ ok: true, checks }));
  process.exit(0);
} catch (error) {
  console.error(error);
  console.log(JSON.stringify({ ok: false, checks, error: String(error) }));
  process.exit(1);
}

async function converse(url) {
  // Its own, so that one server can be asked twice.
  const room = `世界 ${randomBytes(8).toString("hex")}`;
  const ada = await Client.connect(url);
  const bob = await Client.connect(url);
  const eve = await Client.connect(url);
  assertSame(new Set([ada.id, bob.id, eve.id]).size, 3);
  const epoch = await everybodyJoins(room, ada, bob, eve);
  const first = await messagesComeToAll(room, ada, bob, eve);
  await theLastRoomIsMeant(room, ada, bob);
  await joiningTwiceChangesNothing(room, epoch, ada, bob, eve);
  await errorsEndNothing(ada);
  const missed = await leavingIsTold(room, ada, bob, eve);
  await missedMessagesComeAgain(room, epoch, [...first, ...missed], ada, bob, eve);
  await allHearOneOrder(room, 7, [ada, bob, eve]);
  await endsAreTold(url, room, ada, bob, eve);
  await anEmptyRoomIsGone(room, epoch, ada, bob);
  for (const client of [ada, bob]) {
    await client.hearsNothingElse();
    await client.close();
  }
}

async function everybodyJoins(room, ada, bob, eve) {
  const epoch = await ada.join(room, 1, 0);
  assertSame(await bob.join(room, 2, 0), epoch);
  await ada.hears("user_joined", { roomId: room, userCount: 2 });
  await bob.hearsNothingElse();
  assertSame(await eve.join(room, 3, 0), epoch);
  await allHear([ada, bob], "user_joined", { roomId: room, userCount: 3 });
  return epoch;
}

async function messagesComeToAll(room, ada, bob, eve) {
  const everybody = [ada, bob, eve];
  ada.say("chat_message", { text: TEXT, extra: [null] });
  const messages = [await allHearMessage(everybody, room, ada.name, TEXT, 1)];

  bob.say("auth", { username: "Bob 😀" });
  await bob.hears("auth_success", { userId: "Bob 😀" });
  bob.name = "Bob 😀";
  const longest = "😀".repeat(1000);
  bob.say("chat_message", { roomId: room, text: longest });
  messages.push(await allHearMessage(everybody, room, bob.name, longest, 2));

  // What is said again with its id is not published again: its sender alone gets it.
  const id = randomBytes(16).toString("hex");
  eve.say("chat_message", { text: "once", id });
  eve.say("chat_message", { text: "once", id });
  messages.push(await allHearMessage(everybody, room, eve.name, "once", 3, { id }));
  assertSame(await eve.hear(), messages.at(-1));
  eve.say("chat_message", { text: "another", id: "😀" });
  messages.push(await allHearMessage(everybody, room, eve.name, "another", 4, { id: "😀" }));
  return messages;
}

async function theLastRoomIsMeant(room, ada, bob) {
  const side = `${room} side`;
  await ada.join(side, 1, 0);
  ada.say("chat_message", { text: "aside" });
  await allHearMessage([ada], side, ada.name, "aside", 1);
  bob.say("chat_message", { roomId: side, text: "me, too" });
  await bob.hears("error", { message: NOT_IN_ROOM });
  await bob.join(side, 2, 1);
  await ada.hears("user_joined", { roomId: side, userCount: 2 });
  ada.say("leave_room");
  await bob.hears("user_left", { roomId: side, userCount: 1 });
  bob.say("leave_room");
  await bob.hearsNothingElse();
}

async function joiningTwiceChangesNothing(room, epoch, ada, bob, eve) {
  for (let time = 0; time < 2; time += 1) {
    assertSame(await bob.join(room, 3, 4), epoch);
  }
  for (const client of [ada, bob, eve]) {
    await client.hearsNothingElse();
  }
}

async function errorsEndNothing(ada) {
  for (const [payload, message] of BAD_MESSAGES) {
    ada.socket.send(payload);
    await ada.hears("error", { message });
  }
  await ada.hearsNothingElse();
}

/** Returns what the one that has left has missed. */
async function leavingIsTold(room, ada, bob, eve) {
  eve.say("leave_room", { roomId: room });
  await allHear([ada, bob], "user_left", { roomId: room, userCount: 2 });
  await eve.hearsNothingElse();
  eve.say("leave_room", { roomId: room });
  await eve.hears("error", { message: NOT_IN_ROOM });
  eve.say("leave_room");
  await eve.hears("error", { message: NOT_IN_ROOM });
  eve.say("chat_message", { text: "hello?" });
  await eve.hears("error", { message: NOT_IN_ROOM });
  const missed = [];
  for (const [sender, offset] of [[ada, 5], [bob, 6]]) {
    const text = `number ${offset}`;
    sender.say("chat_message", { roomId: room, text });
    missed.push(await allHearMessage([ada, bob], room, sender.name, text, offset));
  }
  return missed;
}

async function missedMessagesComeAgain(room, epoch, messages, ada, bob, eve) {
  const comesBack = async (since, missed, recovered) => {
    assertSame(await eve.join(room, 3, 6, recovered, { since }), epoch);
    for (const message of missed) {
      assertSame(await eve.hear(), message);
    }
    await eve.hearsNothingElse();
    await allHear([ada, bob], "user_joined", { roomId: room, userCount: 3 });
    eve.say("leave_room");
    await allHear([ada, bob], "user_left", { roomId: room, userCount: 2 });
  };
  for (const offset of [4, 6, 0]) {
    await comesBack({ epoch, offset }, messages.slice(offset), true);
  }
  for (const unknown of NO_EPOCHS) {
    await comesBack({ epoch: unknown, offset: 0 }, [], false);
  }
  await comesBack(null, [], false);
  assertSame(await eve.join(room, 3, 6), epoch);
  await allHear([ada, bob], "user_joined", { roomId: room, userCount: 3 });
}

/** Everybody talks at once. */
async function allHearOneOrder(room, offset, everybody) {
  const numbers = Array.from({ length: 10 }, (_, number) => number);
  for (const number of numbers) {
    for (const sender of everybody) {
      sender.say("chat_message", { roomId: room, text: `${sender.id} ${number}` });
    }
  }
  const heard = [];
  for (const client of everybody) {
    const messages = [];
    while (messages.length < 30) {
      messages.push(await client.hear());
    }
    heard.push(messages);
  }
  assertSame(heard, [heard[0], heard[0], heard[0]]);
  const offsets = Array.from({ length: 30 }, (_, index) => offset + index);
  assertSame(heard[0].map((message) => message.offset), offsets);
  for (const sender of everybody) {
    const own = heard[0].filter((message) => message.username === sender.name);
    assertSame(own.map((message) => message.text), numbers.map((n) => `${sender.id} ${n}`));
  }
}

async function endsAreTold(url, room, ada, bob, eve) {
  const isTold = () => allHear([ada, bob], "user_left", { roomId: room, userCount: 2 });
  await eve.close();
  await isTold();
  // Without a closing handshake, and with a reset of the TCP connection.
  for (const end of ["destroy", "resetAndDestroy"]) {
    const guest = await Client.connect(url);
    await guest.join(room, 3, 36);
    await allHear([ada, bob], "user_joined", { roomId: room, userCount: 3 });
    guest.socket._socket[end]();
    await isTold();
  }
}

async function anEmptyRoomIsGone(room, epoch, ada, bob) {
  ada.say("leave_room", { roomId: room });
  await bob.hears("user_left", { roomId: room, userCount: 1 });
  bob.say("leave_room", { roomId: room });
  for (const client of [ada, bob]) {
    await client.hearsNothingElse();
    client.say("chat_message", { roomId: room, text: "anybody?" });
    await client.hears("error", { message: NOT_IN_ROOM });
  }
  const since = { epoch, offset: 0 };
  assertSame((await bob.join(room, 1, 0, false, { since })) === epoch, false);
}

async function allHear(clients, type, fields) {
  for (const client of clients) {
    await client.hears(type, fields);
  }
}

/** All hear one message with these fields; returns it. */
async function allHearMessage(clients, roomId, username, text, offset, fields = {}) {
  const messages = [];
  for (const client of clients) {
    messages.push(await client.hear());
  }
  const { timestamp } = messages[0];
  assertTime(timestamp);
  const expected = { type: "chat_message", roomId, username, text, timestamp, offset, ...fields };
  assertSame(messages, clients.map(() => expected));
  return messages[0];
}

/** A whole number of milliseconds, within a minute of the clock here. */
function assertTime(milliseconds) {
  assertSame(Number.isInteger(milliseconds), true);
  assertSame(Math.abs(milliseconds - Date.now()) < 60_000, true);
}

function assertSame(received, expected) {
  assert.deepEqual(received, expected);
  checks += 1;
}

async function soon(work) {
  // Made here, its stack says who waits.
  const error = new Error("no answer in time");
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(error), WAIT_MILLISECONDS);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
