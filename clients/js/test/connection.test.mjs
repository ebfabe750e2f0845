// Connecting, coming back, and staying away.

import assert from "node:assert/strict";
import { test } from "node:test";
import { RingwireClient } from "../ringwire.js";
import { fakeClient, settled } from "./support/fake-socket.mjs";

test("nothing is connected before connect(), and only once after it", async (context) => {
  const { client, sockets } = fakeClient(context);
  assert.equal(client.state, "idle");
  await settled();
  assert.equal(sockets.length, 0);
  client.connect();
  client.connect();
  await settled();
  assert.equal(sockets.length, 1);
  assert.equal(client.state, "connecting");
});

test("open comes after the welcome", async (context) => {
  const fake = fakeClient(context);
  fake.client.connect();
  await settled();
  fake.socket.fire("open");
  assert.equal(fake.client.state, "authenticating");
  fake.socket.open();
  assert.equal(fake.client.state, "open");
  assert.equal(fake.client.userId, "guest-7");
  const states = fake.of("state").map(({ state }) => state);
  assert.deepEqual(states, ["connecting", "authenticating", "open"]);
});

test("delays are random below a ceiling that doubles up to the cap", async (context) => {
  const fake = fakeClient(context, { backoff: { base: 100, cap: 500 }, random: () => 0.5 });
  fake.client.connect();
  await settled();
  for (let failure = 0; failure < 5; failure += 1) {
    fake.socket.lose();
    assert.equal(fake.client.state, "waiting");
    await fake.tick(250);
  }
  const delays = fake.of("reconnecting").map(({ delay }) => delay);
  assert.deepEqual(delays, [50, 100, 200, 250, 250]);
});

test("delays start anew only after a stable connection", async (context) => {
  const fake = fakeClient(context, { backoff: { base: 100, cap: 10_000, stable: 5_000 } });
  await fake.connect();
  for (const lasts of [4_999, 5_000, 10]) {
    await fake.tick(lasts);
    await fake.reconnect();
  }
  const attempts = fake.of("reconnecting").map(({ attempt }) => attempt);
  // The second connection lasted, so the third loss counts as the first again.
  assert.deepEqual(attempts, [1, 1, 2]);
});

test("attempts are bounded if asked for", async (context) => {
  const fake = fakeClient(context, { attempts: 2 });
  fake.client.connect();
  await settled();
  for (let failure = 0; failure < 3; failure += 1) {
    fake.socket.lose();
    await fake.tick(30_000);
  }
  assert.equal(fake.client.state, "closed");
  assert.equal(fake.sockets.length, 3);
});

test("connect() does not wait for the next attempt", async (context) => {
  const fake = fakeClient(context);
  await fake.connect();
  fake.socket.lose();
  fake.client.connect();
  await settled();
  assert.equal(fake.sockets.length, 2);
  fake.socket.open();
  await fake.tick(1_000);
  assert.equal(fake.sockets.length, 2);
});

for (const code of [1000, 4001]) {
  test(`close ${code} of the server is the end, and pending promises say so`, async (context) => {
    const fake = fakeClient(context);
    await fake.enter();
    const said = fake.client.say("lobby", "hello");
    const joining = fake.client.join("other");
    fake.socket.lose(code, "because");
    assert.deepEqual(fake.of("close"), [{ code, reason: "because", willReconnect: false }]);
    await assert.rejects(said, { message: `the connection was closed: ${code} because`, code });
    await assert.rejects(joining, { code });
    assert.deepEqual(fake.client.pending, []);
    await fake.tick(100_000);
    assert.equal(fake.sockets.length, 1);
    // Only the room that had been joined is joined again.
    await fake.connect();
    assert.deepEqual(fake.socket.takeSent().map(({ roomId }) => roomId), ["lobby"]);
  });
}

test("reconnectOn decides otherwise", async (context) => {
  const fake = fakeClient(context, { reconnectOn: (code) => code === 4001 });
  await fake.connect();
  fake.socket.lose(4001);
  assert.equal(fake.client.state, "waiting");
  await fake.tick(500);
  fake.socket.lose(1006);
  assert.equal(fake.client.state, "closed");
});

test("close() ends at once, and the old socket is heard no more", async (context) => {
  const fake = fakeClient(context);
  await fake.enter();
  fake.client.close(3001, "enough");
  assert.deepEqual(fake.socket.closedWith, { code: 3001, reason: "enough" });
  assert.equal(fake.client.state, "closed");
  const count = fake.events.length;
  fake.socket.chat("lobby", 1);
  fake.socket.lose(3001);
  await fake.tick(100_000);
  assert.equal(fake.events.length, count);
  assert.equal(fake.sockets.length, 1);
  await assert.rejects(fake.client.say("lobby", "x"), /closed/);
  assert.throws(() => fake.client.close(1006), RangeError);
});

test("close() while waiting, or in a handler, leaves nothing to come", async (context) => {
  const fake = fakeClient(context);
  await fake.connect();
  fake.client.on("close", ({ willReconnect }) => willReconnect && fake.client.close());
  fake.socket.lose();
  await fake.tick(100_000);
  assert.equal(fake.client.state, "closed");
  assert.equal(fake.sockets.length, 1);
  assert.deepEqual(fake.of("reconnecting"), []);
});

test("close() in the handler of a state is told once", async (context) => {
  const fake = fakeClient(context);
  await fake.connect();
  fake.client.on("state", ({ state }) => state === "waiting" && fake.client.close());
  fake.socket.lose();
  assert.deepEqual(fake.of("close").map(({ willReconnect }) => willReconnect), [false]);
  assert.deepEqual(fake.of("reconnecting"), []);
});

for (const [name, options] of [
  ["the token function", { token: () => Promise.reject(new Error("no network")) }],
  [
    "the WebSocket",
    {
      WebSocket: class {
        constructor() {
          throw new Error("not allowed");
        }
      },
    },
  ],
]) {
  test(`close() in a handler after ${name} has failed`, async (context) => {
    const fake = fakeClient(context, options);
    fake.client.on("error", () => fake.client.close());
    // An unhandled rejection would fail this test.
    fake.client.connect();
    await settled();
    assert.equal(fake.client.state, "closed");
    assert.equal(fake.of("close").length, 1);
  });
}

test("an expired token is replaced, one refused from the start is the end", async (context) => {
  let count = 0;
  const fake = fakeClient(context, { token: () => `t${++count}`, tokenIn: "message" });
  await fake.connect();
  fake.socket.receive({ type: "auth_success", userId: "ada" });
  fake.socket.lose(4001, "Token expired");
  assert.equal(fake.client.state, "waiting");
  await fake.tick(500);
  fake.socket.open();
  assert.deepEqual(fake.socket.takeSent(), [{ type: "auth", token: "t2" }]);
  fake.socket.lose(4001, "Authentication failed");
  assert.equal(fake.client.state, "closed");
  assert.deepEqual(fake.of("close").map(({ willReconnect }) => willReconnect), [true, false]);
});

test("who we are is not remembered for the next connection", async (context) => {
  const names = ["ada", "bob"];
  const claims = () => JSON.stringify({ sub: names.shift() });
  const token = () => `h.${Buffer.from(claims()).toString("base64url")}.s`;
  const fake = fakeClient(context, { token });
  await fake.connect();
  assert.equal(fake.client.userId, "ada");
  fake.client.close();
  await fake.connect();
  assert.equal(fake.client.userId, "bob");
  fake.socket.receive({ type: "auth_success", userId: "Robert" });
  assert.equal(fake.client.userId, "Robert");
});

test("a connection that does not open in time is dropped", async (context) => {
  const fake = fakeClient(context, { connectTimeout: 3_000 });
  fake.client.connect();
  await settled();
  fake.socket.fire("open");
  await fake.tick(3_000);
  assert.equal(fake.sockets[0].isTerminated, true);
  assert.equal(fake.client.state, "waiting");
  fake.sockets[0].open();
  assert.equal(fake.client.state, "waiting");
});

test("a line that answers no ping is dropped without waiting", async (context) => {
  const fake = fakeClient(context, { heartbeat: { interval: 1_000, timeout: 400 } });
  await fake.connect();
  assert.deepEqual(fake.socket.sent.splice(0), [{ type: "ping" }]);
  await fake.tick(10);
  fake.socket.receive({ type: "pong" });
  assert.equal(fake.client.latency, 10);
  await fake.tick(990);
  assert.deepEqual(fake.socket.sent, [{ type: "ping" }]);
  await fake.tick(25);
  fake.socket.receive({ type: "pong" });
  assert.equal(fake.client.latency, 25);
  await fake.tick(975);
  await fake.tick(399);
  assert.equal(fake.client.state, "open");
  await fake.tick(1);
  assert.equal(fake.sockets[0].isTerminated, true);
  const [{ code, willReconnect }] = fake.of("close");
  assert.deepEqual([code, willReconnect], [1006, true]);
});

test("the heart goes on beating when the timeout is longer than the interval", async (context) => {
  const fake = fakeClient(context, { heartbeat: { interval: 100, timeout: 400 } });
  await fake.connect();
  for (let beat = 1; beat <= 3; beat += 1) {
    assert.equal(fake.socket.sent.splice(0).length, 1, `beat ${beat}`);
    for (let beats = 1; beats <= 3; beats += 1) await fake.tick(100);
    assert.equal(fake.socket.sent.length, 0);
    fake.socket.receive({ type: "pong" });
    await fake.tick(100);
  }
  await fake.tick(400);
  assert.equal(fake.client.state, "waiting");
});

test("any message is a sign of life", async (context) => {
  const fake = fakeClient(context, { heartbeat: { interval: 1_000, timeout: 400 } });
  await fake.connect();
  fake.socket.receive({ type: "user_joined", roomId: "x", userCount: 1 });
  await fake.tick(500);
  assert.equal(fake.client.state, "open");
});

test("a late timer asks again: the machine may have slept", async (context) => {
  let slept = 0;
  const now = () => Date.now() + slept;
  const fake = fakeClient(context, { heartbeat: { interval: 1_000, timeout: 400 }, now });
  await fake.connect();
  slept = 3_600_000;
  await fake.tick(400);
  assert.equal(fake.client.state, "open");
  assert.equal(fake.socket.sent.length, 2);
  await fake.tick(400);
  assert.equal(fake.client.state, "waiting");
});

test("the token is fetched before every connect, and escaped", async (context) => {
  let count = 0;
  const token = async () => `a&b ${++count}`;
  const fake = fakeClient(context, { token });
  await fake.connect();
  assert.equal(fake.socket.url, "ws://chat.test/?token=a%26b+1");
  await fake.reconnect();
  assert.equal(fake.socket.url, "ws://chat.test/?token=a%26b+2");
  assert.deepEqual(fake.socket.takeSent(), []);
});

test("a token function that fails is tried again", async (context) => {
  let fails = true;
  const token = () => {
    if (fails) throw new Error("no network");
    return "good";
  };
  const fake = fakeClient(context, { token });
  fake.client.connect();
  await settled();
  assert.equal(fake.of("error")[0].kind, "token");
  assert.equal(fake.client.state, "waiting");
  fails = false;
  await fake.tick(500);
  assert.equal(fake.socket.url, "ws://chat.test/?token=good");
});

test("a token that comes too late for its attempt is not used", async (context) => {
  const waiting = [];
  const token = () => new Promise((resolve) => waiting.push(resolve));
  const fake = fakeClient(context, { token, connectTimeout: 1_000 });
  fake.client.connect();
  await fake.tick(1_000);
  await fake.tick(500);
  waiting[0]("first");
  await settled();
  assert.equal(fake.sockets.length, 0);
  waiting[1]("second");
  await settled();
  assert.deepEqual(fake.sockets.map(({ url }) => url), ["ws://chat.test/?token=second"]);
});

for (const [name, options, auth] of [
  ["a token", { token: "secret", tokenIn: "message" }, { type: "auth", token: "secret" }],
  ["a name", { username: "Ada" }, { type: "auth", username: "Ada" }],
  [
    "a password",
    { username: "Ada", password: "pw" },
    { type: "auth", username: "Ada", password: "pw" },
  ],
]) {
  test(`${name} is the first message, and open waits for the server's consent`, async (context) => {
    const fake = fakeClient(context, options);
    fake.client.join("lobby");
    await fake.connect();
    assert.equal(fake.socket.url, "ws://chat.test/");
    assert.deepEqual(fake.socket.takeSent(), [auth]);
    assert.equal(fake.client.state, "authenticating");
    fake.socket.receive({ type: "auth_success", userId: "ada" });
    assert.equal(fake.client.state, "open");
    assert.equal(fake.client.userId, "ada");
    assert.equal(fake.socket.takeSent()[0].type, "join_room");
  });
}

test("a new token is sent before the old one expires, by the server's clock", async (context) => {
  const tokens = [];
  const jwt = (claims) => `h.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.s`;
  const token = () => {
    tokens.push(jwt({ sub: "Zoë", exp: Date.now() / 1000 + 3_600 + 600 }));
    return tokens.at(-1);
  };
  const fake = fakeClient(context, { token, refresh: 60_000, heartbeat: { interval: Infinity } });
  fake.client.connect();
  await settled();
  // The server is an hour ahead of us.
  fake.socket.open(Date.now() + 3_600_000);
  assert.equal(fake.client.userId, "Zoë");
  await fake.tick(539_999);
  assert.deepEqual(fake.socket.takeSent(), []);
  await fake.tick(1);
  assert.equal(tokens.length, 2);
  assert.deepEqual(fake.socket.takeSent(), [{ type: "auth", token: tokens[1] }]);
});

test("a new token that is refused for the rate is sent again", async (context) => {
  const jwt = (exp) => `h.${Buffer.from(JSON.stringify({ exp })).toString("base64url")}.s`;
  const token = () => jwt(Date.now() / 1000 + 600);
  const fake = fakeClient(context, { token, heartbeat: { interval: Infinity } });
  await fake.connect();
  await fake.tick(540_000);
  const [first] = fake.socket.takeSent();
  fake.socket.error("Rate limit exceeded");
  await fake.tick(999);
  assert.deepEqual(fake.socket.takeSent(), []);
  await fake.tick(1);
  assert.deepEqual(fake.socket.takeSent(), [first]);
  // No answer at all: again, too.
  await fake.tick(10_000);
  assert.deepEqual(fake.socket.takeSent(), [first]);
  fake.socket.receive({ type: "auth_success", userId: "ada" });
  await fake.tick(500_000);
  assert.deepEqual(fake.socket.takeSent(), []);
  await fake.tick(40_000);
  assert.equal(fake.socket.takeSent()[0].type, "auth");
});

test("times that no timer can wait are long, not short", async (context) => {
  const backoff = { base: 2 ** 50, cap: 2 ** 60 };
  const fake = fakeClient(context, { connectTimeout: 2 ** 40, backoff });
  fake.client.connect();
  await fake.tick(100_000);
  assert.equal(fake.client.state, "connecting");
  fake.socket.lose();
  await fake.tick(100_000);
  assert.equal(fake.client.state, "waiting");
});

test("close() refuses what no close frame can carry, and changes nothing", async (context) => {
  const fake = fakeClient(context);
  await fake.enter();
  for (const [code, reason] of [[1000, "é".repeat(62)], [3000.5, ""], [5000, ""]]) {
    assert.throws(() => fake.client.close(code, reason), RangeError);
  }
  assert.equal(fake.client.state, "open");
  fake.client.close(1000, "é".repeat(61));
  assert.equal(fake.client.state, "closed");
});

test("other messages are sent while open, and refused or kept otherwise", async (context) => {
  const strict = fakeClient(context);
  assert.throws(() => strict.client.send({ type: "ping" }), /cannot send while idle/);
  assert.throws(() => strict.client.send({ type: "chat_message", text: "x" }), /say\(\)/);
  context.mock.timers.reset();
  const patient = fakeClient(context, {
    sendOffline: "queue",
    queue: { size: 2, policy: "drop-oldest" },
  });
  for (const n of [1, 2, 3]) patient.client.send({ type: "custom", n });
  await patient.connect();
  assert.deepEqual(patient.socket.takeSent().map(({ n }) => n), [2, 3]);
});

test("handlers can be ended, and one that throws disturbs no other", async (context) => {
  const fake = fakeClient(context);
  const heard = [];
  const off = fake.client.on("open", () => heard.push("ended"));
  off();
  const later = context.mock.method(globalThis, "queueMicrotask", () => {});
  fake.client.on("open", () => {
    throw new Error("a handler's own");
  });
  fake.client.on("open", () => heard.push("second"));
  await fake.connect();
  assert.throws(later.mock.calls[0].arguments[0], /a handler's own/);
  assert.deepEqual(heard, ["second"]);
});

test("the browser's hints are followed while connected, and only then", async (context) => {
  const page = Object.assign(new EventTarget(), { visibilityState: "visible" });
  const world = new EventTarget();
  for (const name of ["addEventListener", "removeEventListener"]) {
    globalThis[name] = world[name].bind(world);
  }
  globalThis.document = page;
  context.after(() => {
    for (const name of ["addEventListener", "removeEventListener", "document"]) {
      delete globalThis[name];
    }
  });
  const fake = fakeClient(context);
  await fake.connect();
  fake.socket.receive({ type: "pong" });
  fake.socket.sent.length = 0;
  page.dispatchEvent(new Event("visibilitychange"));
  assert.deepEqual(fake.socket.sent, [{ type: "ping" }]);
  fake.socket.receive({ type: "pong" });
  world.dispatchEvent(new Event("offline"));
  assert.equal(fake.socket.sent.length, 2);
  fake.socket.lose();
  assert.equal(fake.client.state, "waiting");
  world.dispatchEvent(new Event("online"));
  await settled();
  assert.equal(fake.sockets.length, 2);
  fake.client.close();
  world.dispatchEvent(new Event("online"));
  await settled();
  assert.equal(fake.client.state, "closed");
});

test("wrong options and addresses are refused with a word", () => {
  class WebSocket {}
  const make = (options, url = "ws://x/") => () => {
    return new RingwireClient(url, { WebSocket, ...options });
  };
  assert.throws(make({ heartBeat: {} }), /no option heartBeat/);
  assert.throws(make({ backoff: { max: 1 } }), /no option backoff\.max/);
  assert.throws(make({ tokenIn: "header" }), /tokenIn must be one of: query, message/);
  assert.throws(make({ inFlight: 0 }), /inFlight must be a number, 1 or more/);
  assert.throws(make({ inFlight: "2" }), RangeError);
  for (const name of ["interval", "timeout"]) {
    assert.throws(make({ heartbeat: { [name]: 0 } }), RangeError);
  }
  assert.throws(make({ connectTimeout: 0 }), RangeError);
  assert.throws(make({ queue: { size: 0 } }), RangeError);
  assert.throws(make({ backoff: 5 }), /backoff must be an object/);
  for (const username of ["", " \u00a0", "x".repeat(51), "a\u0085b"]) {
    assert.throws(make({ username }), RangeError);
  }
  assert.throws(make({ username: "Ada", password: "" }), RangeError);
  for (const token of ["", "x".repeat(4_097)]) assert.throws(make({ token }), RangeError);
  assert.throws(make({ now: 5 }), TypeError);
  assert.throws(make({}, "ftp://x/"), SyntaxError);
  assert.throws(make({}, "no address"), TypeError);
  if (!globalThis.WebSocket) assert.throws(() => new RingwireClient("ws://x/"), /pass one/);
});
