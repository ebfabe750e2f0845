// What is said: confirmed, in order, and sent again with the same id until it is.

import assert from "node:assert/strict";
import { test } from "node:test";
import { EPOCH, fakeClient } from "./support/fake-socket.mjs";

/** The ids and texts of the chat messages just sent. */
const sentChats = (fake) =>
  fake.socket.takeSent().filter(({ type }) => type === "chat_message");
const texts = (messages) => messages.map(({ text }) => text);

test("said is confirmed by the message of its id", async (context) => {
  const fake = fakeClient(context);
  await fake.enter();
  const saying = fake.client.say("lobby", "hello");
  const [sent] = sentChats(fake);
  assert.match(sent.id, /^[0-9a-f]{32}$/);
  assert.equal(saying.id, sent.id);
  assert.deepEqual(fake.client.pending, [{ id: sent.id, roomId: "lobby", text: "hello" }]);
  fake.socket.chat("lobby", 1, { id: "another's", text: "hello" });
  assert.equal(fake.client.pending.length, 1);
  fake.socket.chat("lobby", 2, { id: sent.id, text: "hello" });
  assert.deepEqual(fake.client.pending, []);
  assert.equal((await saying).offset, 2);
});

test("said offline waits for the room", async (context) => {
  const fake = fakeClient(context);
  fake.client.join("lobby");
  fake.client.say("lobby", "early");
  await fake.connect();
  assert.deepEqual(fake.socket.takeSent().map(({ type }) => type), ["join_room"]);
  fake.socket.joined("lobby", 0);
  assert.deepEqual(texts(sentChats(fake)), ["early"]);
});

test("one message is in flight at a time, or as many as asked for", async (context) => {
  for (const [inFlight, expected] of [[1, ["a"]], [2, ["a", "b"]]]) {
    const fake = fakeClient(context, { inFlight });
    await fake.enter();
    for (const text of ["a", "b", "c"]) fake.client.say("lobby", text);
    const [first, ...others] = sentChats(fake);
    assert.deepEqual(texts([first, ...others]), expected);
    fake.socket.chat("lobby", 1, first);
    assert.deepEqual(texts(sentChats(fake)), [inFlight === 1 ? "b" : "c"]);
    context.mock.timers.reset();
  }
});

test("after a reconnect the replay confirms; the rest goes out with its ids", async (context) => {
  const fake = fakeClient(context, { inFlight: 3 });
  await fake.enter();
  const promises = ["a", "b", "c"].map((text) => fake.client.say("lobby", text));
  const before = sentChats(fake);
  await fake.reconnect();
  assert.deepEqual(sentChats(fake), []);
  fake.socket.joined("lobby", 2, { recovered: true });
  fake.socket.chat("lobby", 1, before[0]);
  assert.deepEqual(sentChats(fake), []);
  fake.socket.chat("lobby", 2);
  assert.deepEqual(sentChats(fake), before.slice(1));
  assert.equal((await promises[0]).offset, 1);
});

test("said again after a gap: the old message is the confirmation", async (context) => {
  const fake = fakeClient(context);
  await fake.enter("lobby", 5);
  const saying = fake.client.say("lobby", "a");
  const [sent] = sentChats(fake);
  await fake.reconnect();
  // It was published as 7, and the server can no longer replay that.
  fake.socket.joined("lobby", 2_000);
  assert.deepEqual(sentChats(fake), [sent]);
  fake.socket.chat("lobby", 7, sent);
  assert.equal((await saying).offset, 7);
  assert.deepEqual(fake.texts(), ["a"]);
  assert.equal(fake.client.rooms.get("lobby").offset, 2_000);
  // Once is enough, and the room goes on where it was.
  fake.socket.chat("lobby", 7, sent);
  fake.socket.chat("lobby", 2_001);
  assert.deepEqual(fake.texts(), ["a", "text 2001"]);
  assert.deepEqual(fake.of("error"), []);
});

test("what was under way when a gap was noticed is said again", async (context) => {
  const fake = fakeClient(context);
  await fake.enter("lobby", 5);
  fake.client.say("lobby", "a");
  const [sent] = sentChats(fake);
  fake.socket.chat("lobby", 8);
  fake.socket.chat("lobby", 9, sent);
  fake.socket.joined("lobby", 9);
  assert.deepEqual(sentChats(fake), [sent]);
  fake.socket.chat("lobby", 9, sent);
  assert.deepEqual(fake.client.pending, []);
});

test("the talk of others does not put off the question what became of mine", async (context) => {
  const fake = fakeClient(context, { heartbeat: { interval: Infinity } });
  await fake.enter();
  fake.client.say("lobby", "a");
  fake.socket.takeSent();
  for (const offset of [1, 2]) {
    await fake.tick(5_000);
    fake.socket.chat("lobby", offset);
  }
  assert.deepEqual(fake.socket.takeSent().map(({ type }) => type), ["join_room"]);
});

test("a room that is not joined yet holds up no other", async (context) => {
  const fake = fakeClient(context);
  await fake.enter("slow");
  fake.client.join("fast");
  fake.socket.joined("fast", 0);
  await fake.reconnect();
  fake.client.say("slow", "a");
  fake.client.say("fast", "b");
  fake.socket.joined("fast", 0, { recovered: true });
  assert.deepEqual(texts(sentChats(fake)), ["b"]);
});

test("refused for the rate: the same again, later and later, and nothing else", async (context) => {
  const fake = fakeClient(context, { heartbeat: { interval: Infinity } });
  await fake.enter();
  fake.client.say("lobby", "a");
  fake.client.say("lobby", "b");
  const [first] = sentChats(fake);
  for (const wait of [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]) {
    fake.socket.error("Rate limit exceeded");
    await fake.tick(wait - 1);
    assert.deepEqual(sentChats(fake), []);
    await fake.tick(1);
    assert.deepEqual(sentChats(fake), [first]);
  }
  fake.socket.chat("lobby", 1, first);
  assert.deepEqual(texts(sentChats(fake)), ["b"]);
  fake.socket.error("Rate limit exceeded");
  await fake.tick(1_000);
  assert.deepEqual(texts(sentChats(fake)), ["b"]);
});

test("refused as out of reach: the same again, later and later, and told once", async (context) => {
  const fake = fakeClient(context, { heartbeat: { interval: Infinity }, inFlight: 2 });
  await fake.enter();
  for (const text of ["a", "b", "c"]) fake.client.say("lobby", text);
  const sent = sentChats(fake);
  for (const wait of [750, 1_500, 3_000, 6_000, 7_500]) {
    for (const _ of sent) fake.socket.error("Room unavailable");
    await fake.tick(wait - 1);
    assert.deepEqual(sentChats(fake), []);
    await fake.tick(1);
    assert.deepEqual(sentChats(fake), sent);
  }
  assert.deepEqual(fake.of("error").map(({ message }) => message), ["Room unavailable"]);
  sent.forEach((message, index) => fake.socket.chat("lobby", index + 1, message));
  assert.deepEqual(texts(sentChats(fake)), ["c"]);
  fake.socket.error("Room unavailable");
  assert.equal(fake.of("error").length, 2);
});

test("what was under way when the server tells a gap is said again", async (context) => {
  const fake = fakeClient(context, { inFlight: 2 });
  await fake.enter("lobby", 5);
  const saying = ["a", "b", "c"].map((text) => fake.client.say("lobby", text));
  const sent = sentChats(fake);
  fake.socket.joined("lobby", 1, { epoch: "00000000000000e2" });
  assert.deepEqual(sentChats(fake), sent);
  // The first was published before, and is known there; the other one was not.
  fake.socket.chat("lobby", 1, sent[0]);
  fake.socket.chat("lobby", 2, sent[1]);
  assert.deepEqual((await Promise.all(saying.slice(0, 2))).map(({ offset }) => offset), [1, 2]);
  assert.deepEqual(fake.texts(), ["a", "b"]);
  assert.deepEqual(texts(sentChats(fake)), ["c"]);
});

test("'Not in room' joins again, then slowly", async (context) => {
  const fake = fakeClient(context);
  await fake.enter();
  fake.client.say("lobby", "a");
  const [first] = sentChats(fake);
  for (const wait of [0, 1_000, 2_000]) {
    fake.socket.error("Not in room");
    if (wait > 0) await fake.tick(wait - 1);
    assert.deepEqual(fake.socket.takeSent(), []);
    await fake.tick(1);
    const since = { epoch: EPOCH, offset: 0 };
    assert.deepEqual(fake.socket.takeSent(), [{ type: "join_room", roomId: "lobby", since }]);
    fake.socket.joined("lobby", 0, { recovered: true });
    assert.deepEqual(sentChats(fake), [first]);
  }
});

test("without a confirmation the room is joined again to see why", async (context) => {
  const fake = fakeClient(context, { heartbeat: { interval: Infinity } });
  await fake.enter();
  const saying = fake.client.say("lobby", "a");
  const [first] = sentChats(fake);
  await fake.tick(10_000);
  assert.deepEqual(fake.socket.takeSent().map(({ type }) => type), ["join_room"]);
  fake.socket.joined("lobby", 1, { recovered: true });
  fake.socket.chat("lobby", 1, first);
  await saying;
  assert.deepEqual(sentChats(fake), []);
});

test("a message whose form is refused is rejected and blocks no other", async (context) => {
  const fake = fakeClient(context);
  await fake.enter();
  const bad = fake.client.say("lobby", "a");
  fake.client.say("lobby", "b");
  fake.socket.takeSent();
  fake.socket.error("Invalid message format");
  await assert.rejects(bad, /Invalid message format/);
  assert.deepEqual(texts(sentChats(fake)), ["b"]);
});

test("with several in flight, the one without an answer is the refused one", async (context) => {
  const fake = fakeClient(context, { inFlight: 2 });
  await fake.enter();
  const said = ["a", "b", "c"].map((text) => fake.client.say("lobby", text));
  const [, second] = sentChats(fake);
  fake.socket.error("Invalid message format");
  fake.socket.chat("lobby", 1, second);
  await assert.rejects(said[0], /Invalid message format/);
  await said[1];
  const [third] = sentChats(fake);
  assert.equal(third.text, "c");
  fake.socket.chat("lobby", 2, third);
  await said[2];
});

test("a join whose form is refused is not blamed on a message, and ends", async (context) => {
  const fake = fakeClient(context);
  await fake.enter();
  const joining = fake.client.join("other");
  const saying = fake.client.say("lobby", "a");
  const [sent] = sentChats(fake);
  fake.socket.error("Invalid message format");
  assert.equal(fake.client.pending.length, 1);
  fake.socket.chat("lobby", 1, sent);
  await saying;
  await assert.rejects(joining, /Invalid message format/);
  assert.deepEqual([...fake.client.rooms.keys()], ["lobby"]);
});

test("a refused message is found out in spite of other messages of the user", async (context) => {
  const fake = fakeClient(context, { heartbeat: { interval: Infinity } });
  await fake.enter();
  fake.client.send({ type: "custom" });
  const saying = fake.client.say("lobby", "a");
  fake.socket.error("Invalid message format");
  fake.socket.error("Invalid message format");
  assert.equal(fake.client.pending.length, 1);
  await fake.tick(10_000);
  fake.socket.joined("lobby", 0, { recovered: true });
  fake.socket.error("Invalid message format");
  await assert.rejects(saying, /Invalid message format/);
});

for (const [policy, kept] of [
  ["reject", ["a", "b", "c"]],
  ["drop-oldest", ["a", "c", "d"]],
  ["drop-newest", ["a", "b", "d"]],
]) {
  test(`a full queue: ${policy}`, async (context) => {
    const fake = fakeClient(context, { queue: { size: 3, policy } });
    await fake.enter();
    const all = ["a", "b", "c", "d"];
    // "a" is in flight: the server may have it, so it is never dropped.
    const results = all.map((text) => fake.client.say("lobby", text));
    assert.deepEqual(texts(fake.client.pending), kept);
    const dropped = all.findIndex((text) => !kept.includes(text));
    await assert.rejects(results[dropped], /the queue is full: 3 messages wait/);
  });
}

test("rejected at once: no room, no text, left", async (context) => {
  const fake = fakeClient(context);
  await fake.enter();
  await assert.rejects(fake.client.say("elsewhere", "x"), /not in room elsewhere/);
  for (const text of ["", "x".repeat(1_001), 5, "\udc00", "a\r\nb", "\0", "\u0085"]) {
    await assert.rejects(fake.client.say("lobby", text), RangeError);
  }
  fake.client.say("lobby", "\n\t");
  fake.client.say("lobby", "😀".repeat(1_000));
  const waiting = fake.client.say("lobby", "x");
  fake.client.leave("lobby");
  await assert.rejects(waiting, /left the room lobby/);
  assert.deepEqual(fake.client.pending, []);
});

test("nobody has to look at a promise", async (context) => {
  const fake = fakeClient(context);
  await fake.enter();
  fake.client.say("lobby", "x");
  fake.client.say("elsewhere", "x");
  fake.client.join("other");
  // An unhandled rejection would fail this test.
  fake.client.close();
  await fake.tick(1);
});
