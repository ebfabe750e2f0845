// What is delivered: every message of a room once and in order, over any number of connections.

import assert from "node:assert/strict";
import { test } from "node:test";
import { EPOCH, fakeClient, settled } from "./support/fake-socket.mjs";

const OTHER_EPOCH = "00000000000000e2";

test("join waits for the connection and tells where the room stands", async (context) => {
  const fake = fakeClient(context);
  const joining = fake.client.join("lobby");
  assert.deepEqual([...fake.client.rooms], []);
  await fake.connect();
  assert.deepEqual(fake.socket.takeSent(), [{ type: "join_room", roomId: "lobby" }]);
  fake.socket.joined("lobby", 5, { userCount: 3 });
  const place = { userCount: 3, epoch: EPOCH, offset: 5 };
  assert.deepEqual(await joining, { roomId: "lobby", recovered: false, ...place });
  assert.deepEqual([...fake.client.rooms], [["lobby", place]]);
  fake.socket.receive({ type: "user_left", roomId: "lobby", userCount: 2 });
  assert.equal(fake.client.rooms.get("lobby").userCount, 2);
  // A second join asks nobody, and has no more to say than the first.
  const again = { roomId: "lobby", recovered: false, ...place, userCount: 2 };
  assert.deepEqual(await fake.client.join("lobby"), again);
  assert.deepEqual(fake.socket.takeSent(), []);
  assert.deepEqual(fake.of("recovered"), []);
});

test("join replays from a place known from earlier", async (context) => {
  const fake = fakeClient(context);
  await fake.connect();
  const since = { epoch: EPOCH, offset: 3 };
  const joining = fake.client.join("lobby", { since });
  assert.deepEqual(fake.socket.takeSent(), [{ type: "join_room", roomId: "lobby", since }]);
  fake.socket.joined("lobby", 5, { recovered: true });
  fake.socket.chat("lobby", 4);
  fake.socket.chat("lobby", 5);
  assert.equal((await joining).recovered, true);
  assert.deepEqual(fake.texts(), ["text 4", "text 5"]);
});

test("after a reconnect every room is joined since its last message", async (context) => {
  const fake = fakeClient(context);
  await fake.enter("lobby", 5);
  fake.client.join("quiet");
  fake.socket.joined("quiet", 9);
  fake.socket.chat("lobby", 6);
  await fake.reconnect();
  assert.deepEqual(fake.socket.takeSent(), [
    { type: "join_room", roomId: "lobby", since: { epoch: EPOCH, offset: 6 } },
    { type: "join_room", roomId: "quiet", since: { epoch: EPOCH, offset: 9 } },
  ]);
  fake.socket.joined("lobby", 8, { recovered: true });
  fake.socket.chat("lobby", 7);
  assert.deepEqual(fake.of("recovered"), []);
  fake.socket.chat("lobby", 8);
  fake.socket.chat("lobby", 9);
  assert.deepEqual(fake.texts(), ["text 6", "text 7", "text 8", "text 9"]);
  const recovered = { roomId: "lobby", recovered: true, epochChanged: false, offset: 8, missed: 2 };
  assert.deepEqual(fake.of("recovered"), [recovered]);
});

test("what the server has forgotten is said to be lost", async (context) => {
  const fake = fakeClient(context);
  await fake.enter("lobby", 5);
  await fake.reconnect();
  fake.socket.joined("lobby", 2005);
  fake.socket.chat("lobby", 2006);
  assert.deepEqual(fake.of("recovered"), [
    { roomId: "lobby", recovered: false, epochChanged: false, offset: 2005, missed: 2000 },
  ]);
  assert.deepEqual(fake.texts(), ["text 2006"]);
});

test("a new epoch counts from the start, and an id is shown once over both", async (context) => {
  const fake = fakeClient(context);
  await fake.enter("lobby", 5);
  fake.socket.chat("lobby", 6, { id: "a" });
  await fake.reconnect();
  fake.socket.joined("lobby", 0, { epoch: OTHER_EPOCH });
  const [recovered] = fake.of("recovered");
  const lost = { roomId: "lobby", recovered: false, epochChanged: true, offset: 0 };
  assert.deepEqual(recovered, { ...lost, missed: undefined });
  fake.socket.chat("lobby", 1, { id: "a" });
  fake.socket.chat("lobby", 2, { id: "b" });
  assert.deepEqual(fake.texts(), ["text 6", "text 2"]);
  assert.deepEqual(fake.of("error"), []);
});

test("a gap that the server tells unasked is told, and the room goes on", async (context) => {
  const fake = fakeClient(context, { heartbeat: { interval: Infinity } });
  await fake.enter("lobby", 5);
  fake.socket.chat("lobby", 6);
  fake.socket.joined("lobby", 10, { userCount: 4 });
  fake.socket.chat("lobby", 11);
  fake.socket.joined("lobby", 2, { epoch: OTHER_EPOCH });
  fake.socket.chat("lobby", 3);
  assert.deepEqual(fake.texts(), ["text 6", "text 11", "text 3"]);
  const lost = { roomId: "lobby", recovered: false };
  assert.deepEqual(fake.of("recovered"), [
    { ...lost, epochChanged: false, offset: 10, missed: 4 },
    { ...lost, epochChanged: true, offset: 2, missed: undefined },
  ]);
  assert.deepEqual(fake.socket.takeSent(), []);
  assert.deepEqual(fake.of("error"), []);
  const { epoch, offset } = fake.client.rooms.get("lobby");
  assert.deepEqual({ epoch, offset }, { epoch: OTHER_EPOCH, offset: 3 });
});

test("the second answer to a join that was asked twice is no gap", async (context) => {
  const fake = fakeClient(context, { heartbeat: { interval: Infinity } });
  await fake.connect();
  const joining = fake.client.join("lobby");
  await fake.tick(10_000);
  fake.socket.joined("lobby", 5);
  await joining;
  fake.socket.chat("lobby", 6);
  fake.socket.joined("lobby", 6, { userCount: 2 });
  fake.socket.chat("lobby", 7);
  assert.deepEqual(fake.texts(), ["text 6", "text 7"]);
  assert.deepEqual(fake.of("recovered"), []);
  assert.equal(fake.client.rooms.get("lobby").userCount, 2);
});

test("messages that were delivered are not delivered again", async (context) => {
  const fake = fakeClient(context);
  await fake.enter("lobby", 5);
  for (const offset of [6, 6, 5, 7, 6]) fake.socket.chat("lobby", offset);
  assert.deepEqual(fake.texts(), ["text 6", "text 7"]);
});

test("messages before the answer to the join wait for the replay", async (context) => {
  const fake = fakeClient(context);
  await fake.enter("lobby", 5);
  await fake.reconnect();
  fake.socket.chat("lobby", 1);
  fake.socket.chat("lobby", 6);
  fake.socket.chat("lobby", 7);
  assert.deepEqual(fake.texts(), []);
  fake.socket.joined("lobby", 7, { recovered: true });
  fake.socket.chat("lobby", 6);
  fake.socket.chat("lobby", 7);
  assert.deepEqual(fake.texts(), ["text 6", "text 7"]);
  assert.deepEqual(fake.of("error"), []);
});

test("a gap is reported and healed by joining again", async (context) => {
  const fake = fakeClient(context);
  await fake.enter("lobby", 5);
  fake.socket.chat("lobby", 8);
  fake.socket.chat("lobby", 9);
  assert.deepEqual(fake.of("error").map(({ kind }) => kind), ["protocol"]);
  const since = { epoch: EPOCH, offset: 5 };
  assert.deepEqual(fake.socket.takeSent(), [{ type: "join_room", roomId: "lobby", since }]);
  fake.socket.joined("lobby", 9, { recovered: true });
  for (const offset of [6, 7, 8, 9, 10]) fake.socket.chat("lobby", offset);
  assert.deepEqual(fake.texts(), [6, 7, 8, 9, 10].map((offset) => `text ${offset}`));
});

test("a gap in the replay is reported, and does not stop the room", async (context) => {
  const fake = fakeClient(context);
  await fake.enter("lobby", 5);
  await fake.reconnect();
  fake.socket.joined("lobby", 8, { recovered: true });
  fake.socket.chat("lobby", 8);
  fake.socket.chat("lobby", 9);
  assert.deepEqual(fake.texts(), ["text 8", "text 9"]);
  assert.equal(fake.of("error").length, 1);
});

test("a replay that ends with a message shown before is complete", async (context) => {
  const fake = fakeClient(context);
  await fake.enter("lobby", 5);
  fake.socket.chat("lobby", 6, { id: "a" });
  await fake.reconnect();
  fake.socket.joined("lobby", 7, { recovered: true });
  fake.socket.chat("lobby", 7, { id: "a" });
  assert.equal(fake.of("recovered").length, 1);
});

test("a long replay is not asked for again while it comes", async (context) => {
  const fake = fakeClient(context, { heartbeat: { interval: Infinity } });
  await fake.enter();
  await fake.reconnect();
  fake.socket.joined("lobby", 3, { recovered: true });
  fake.socket.takeSent();
  for (const offset of [1, 2, 3]) {
    await fake.tick(9_000);
    fake.socket.chat("lobby", offset);
  }
  assert.deepEqual(fake.socket.takeSent(), []);
  assert.equal(fake.of("recovered").length, 1);
});

test("the memory of ids is bounded", async (context) => {
  const fake = fakeClient(context);
  await fake.enter();
  for (let offset = 1; offset <= 1_001; offset += 1) {
    fake.socket.chat("lobby", offset, { id: `${offset}` });
  }
  fake.socket.chat("lobby", 1_002, { id: "2" });
  fake.socket.chat("lobby", 1_003, { id: "1" });
  assert.equal(fake.texts().length, 1_002);
});

test("a join that is refused for the rate is asked again", async (context) => {
  const fake = fakeClient(context);
  await fake.connect();
  const joining = fake.client.join("lobby");
  fake.socket.takeSent();
  fake.socket.error("Rate limit exceeded");
  fake.client.join("other");
  assert.deepEqual(fake.socket.takeSent(), []);
  await fake.tick(1_000);
  assert.deepEqual(fake.socket.takeSent().map(({ roomId }) => roomId), ["lobby", "other"]);
  fake.socket.joined("lobby", 0);
  await joining;
});

test("a room out of reach is asked for later and later, and told once", async (context) => {
  const fake = fakeClient(context, { heartbeat: { interval: Infinity } });
  await fake.connect();
  for (const outage of [1, 2]) {
    const joining = fake.client.join(`room ${outage}`);
    fake.socket.takeSent();
    // Between half of the wait and all of it, by chance.
    for (const wait of [750, 1_500, 3_000, 6_000, 7_500, 7_500]) {
      fake.socket.error("Room unavailable");
      await fake.tick(wait - 1);
      assert.deepEqual(fake.socket.takeSent(), []);
      await fake.tick(1);
      const sent = { type: "join_room", roomId: `room ${outage}` };
      assert.deepEqual(fake.socket.takeSent(), [sent]);
    }
    fake.socket.joined(`room ${outage}`, 0);
    await joining;
    const reports = fake.of("error").map(({ kind, message }) => `${kind}: ${message}`);
    assert.deepEqual(reports, Array(outage).fill("server: Room unavailable"));
  }
});

test("a join without an answer is asked again", async (context) => {
  const fake = fakeClient(context, { heartbeat: { interval: Infinity } });
  await fake.connect();
  fake.client.join("lobby");
  fake.socket.takeSent();
  await fake.tick(10_000);
  assert.deepEqual(fake.socket.takeSent(), [{ type: "join_room", roomId: "lobby" }]);
});

test("too many rooms: those are refused that have no other answer", async (context) => {
  const fake = fakeClient(context);
  await fake.connect();
  const joining = Object.fromEntries(["a", "b", "c"].map((room) => [room, fake.client.join(room)]));
  // Which of the three is meant? Another question would make it no clearer.
  fake.socket.error("Too many rooms");
  fake.socket.takeSent();
  const later = fake.client.join("d");
  fake.socket.joined("c", 0);
  assert.deepEqual(fake.socket.takeSent(), []);
  fake.socket.joined("b", 0);
  await assert.rejects(joining.a, /Too many rooms/);
  await Promise.all([joining.b, joining.c]);
  assert.deepEqual(fake.socket.takeSent().map(({ roomId }) => roomId), ["d"]);
  fake.socket.joined("d", 0);
  await later;
  await fake.reconnect();
  assert.deepEqual(fake.socket.takeSent().map(({ roomId }) => roomId), ["b", "c", "d"]);
});

test("too many rooms: several at once", async (context) => {
  const fake = fakeClient(context);
  await fake.connect();
  const [first, second, third] = ["a", "b", "c"].map((room) => fake.client.join(room));
  fake.socket.error("Too many rooms");
  fake.socket.error("Too many rooms");
  fake.socket.joined("a", 0);
  await first;
  await assert.rejects(second, /Too many rooms/);
  await assert.rejects(third, /Too many rooms/);
});

test("a leave refused for the rate is sent again, unless joined meanwhile", async (context) => {
  const fake = fakeClient(context, { heartbeat: { interval: Infinity } });
  const rooms = ["a", "b", "c"];
  for (const room of rooms) fake.client.join(room);
  await fake.connect();
  for (const room of rooms) fake.socket.joined(room, 0);
  fake.socket.takeSent();
  fake.client.leave("a");
  assert.deepEqual(fake.socket.takeSent(), [{ type: "leave_room", roomId: "a" }]);
  fake.socket.error("Rate limit exceeded");
  for (const room of ["b", "c"]) fake.client.leave(room);
  fake.client.join("c");
  assert.deepEqual(fake.socket.takeSent(), []);
  await fake.tick(1_000);
  const sent = fake.socket.takeSent().map(({ type, roomId }) => `${type} ${roomId}`);
  assert.deepEqual(sent, ["leave_room a", "leave_room b", "join_room c"]);
  fake.socket.joined("c", 0);
  // It had been left the first time: nobody needs to know.
  const count = fake.of("error").length;
  fake.socket.error("Not in room");
  assert.equal(fake.of("error").length, count);
  // A refusal long after it means something else.
  await fake.tick(10_000);
  fake.socket.error("Rate limit exceeded");
  await fake.tick(10_000);
  assert.deepEqual(fake.socket.takeSent(), []);
});

test("a room that was left is silent and not joined again", async (context) => {
  const fake = fakeClient(context);
  await fake.enter("lobby", 5);
  fake.client.leave("lobby");
  fake.client.leave("never joined");
  assert.deepEqual(fake.socket.takeSent(), [{ type: "leave_room", roomId: "lobby" }]);
  fake.socket.chat("lobby", 6);
  assert.deepEqual(fake.texts(), []);
  await fake.reconnect();
  assert.deepEqual(fake.socket.takeSent(), []);
});

test("room ids are checked as the server checks them", async (context) => {
  const { client } = fakeClient(context);
  const bad = ["", "x".repeat(51), 5, undefined, "half \ud83d"];
  bad.push(" ", "\u3000\u00a0", "a\nb", "\x7f");
  for (const roomId of bad) await assert.rejects(client.join(roomId), RangeError);
  const places = [null, 5, {}, { epoch: EPOCH }, { epoch: "", offset: 1 }, { epoch: 5, offset: 1 }];
  for (const offset of [-1, 0.5, 2 ** 53, "1"]) places.push({ epoch: EPOCH, offset });
  for (const since of places) await assert.rejects(client.join("lobby", { since }), RangeError);
  assert.equal(client.rooms.size, 0);
  client.join("😀".repeat(50));
  await settled();
});

test("messages that are no JSON objects are reported", async (context) => {
  const fake = fakeClient(context);
  await fake.connect();
  for (const data of ["{", "5", "null", "{}", new Uint8Array(3)]) {
    fake.socket.fire("message", { data });
  }
  assert.equal(fake.of("error").length, 5);
  assert.equal(fake.client.state, "open");
});
