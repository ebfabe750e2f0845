// The client against a server over real sockets.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { FaultProxy } from "../../../tests/clients/fault_proxy.mjs";
import { RingwireClient } from "../ringwire.js";
import { startChatServer, WebSocket } from "./support/chat-server.mjs";

const QUICK = { WebSocket, backoff: { base: 5, cap: 20 } };

/** Clients that are closed when the test ends. */
function clients(context, ...many) {
  const all = many.map(([url, options]) => new RingwireClient(url, { ...QUICK, ...options }));
  context.after(() => all.forEach((client) => client.close()));
  for (const client of all) client.connect();
  return all;
}

async function serverFor(context, options) {
  const server = await startChatServer(options);
  context.after(() => server.stop());
  return server;
}

const next = (client, name) =>
  new Promise((resolve) => {
    const off = client.on(name, (event) => {
      off();
      resolve(event);
    });
  });

/** The texts that a client hears; `until(n)` waits for so many. */
function hearing(client) {
  const texts = [];
  const until = (count) =>
    new Promise((resolve) => {
      const check = () => texts.length >= count && resolve(texts);
      client.on("message", check);
      check();
    });
  client.on("message", ({ type, text }) => type === "chat_message" && texts.push(text));
  return { texts, until };
}

test("two clients talk", async (context) => {
  const server = await serverFor(context);
  const [ada, bob] = clients(context, [server.url, { username: "Ada" }], [server.url]);
  const bobHears = hearing(bob);
  await Promise.all([ada.join("lobby"), bob.join("lobby")]);
  const said = await ada.say("lobby", "hello");
  assert.equal(said.username, "Ada");
  assert.deepEqual(await bobHears.until(1), ["hello"]);
  assert.equal(ada.userId, "Ada");
  assert.match(bob.userId, /^guest-/);
});

test("what was missed during a break comes first", async (context) => {
  const server = await serverFor(context);
  const proxy = await FaultProxy.start({ host: "127.0.0.1", port: server.port });
  context.after(() => proxy.stop());
  const [ada, bob] = clients(context, [server.url], [`ws://127.0.0.1:${proxy.port}/`]);
  const bobHears = hearing(bob);
  await Promise.all([ada.join("lobby"), bob.join("lobby")]);
  await ada.say("lobby", "1");
  await bobHears.until(1);
  proxy.refuse = true;
  proxy.cut();
  await next(bob, "close");
  const saidOffline = bob.say("lobby", "4");
  await ada.say("lobby", "2");
  await ada.say("lobby", "3");
  proxy.refuse = false;
  const { recovered, missed } = await next(bob, "recovered");
  assert.deepEqual([recovered, missed], [true, 2]);
  await saidOffline;
  assert.deepEqual(bobHears.texts, ["1", "2", "3", "4"]);
});

test("a silent line is noticed and replaced", async (context) => {
  const server = await serverFor(context);
  const proxy = await FaultProxy.start({ host: "127.0.0.1", port: server.port });
  context.after(() => proxy.stop());
  const heartbeat = { interval: 50, timeout: 50 };
  const address = `ws://127.0.0.1:${proxy.port}/`;
  const [ada, anchor] = clients(context, [address, { heartbeat }], [server.url]);
  await Promise.all([ada.join("lobby"), anchor.join("lobby")]);
  proxy.blackHole(true);
  const { code, reason } = await next(ada, "close");
  assert.deepEqual([code, reason], [1006, "no sign of life within 50 ms"]);
  proxy.blackHole(false);
  assert.equal((await next(ada, "recovered")).recovered, true);
});

test("a server that starts again finds its clients; nothing is shown twice", async (context) => {
  const first = await startChatServer();
  const { port, url } = first;
  const [ada, bob] = clients(context, [url], [url]);
  const bobHears = hearing(bob);
  await Promise.all([ada.join("lobby"), bob.join("lobby")]);
  await ada.say("lobby", "1");
  await bobHears.until(1);
  await first.stop();
  const saying = ada.say("lobby", "2");
  const recovered = next(bob, "recovered");
  await serverFor(context, { port });
  assert.equal((await recovered).epochChanged, true);
  await saying;
  await ada.say("lobby", "3");
  assert.equal(bobHears.texts.filter((text) => text === "1").length, 1);
});

test("a rate limit delays, and loses and exchanges nothing", async (context) => {
  const server = await serverFor(context, { rateLimit: 10, rateWindow: 700 });
  const [ada] = clients(context, [server.url]);
  const adaHears = hearing(ada);
  await ada.join("lobby");
  const texts = Array.from({ length: 15 }, (_, index) => String(index));
  await Promise.all(texts.map((text) => ada.say("lobby", text)));
  assert.deepEqual(adaHears.texts, texts);
});

test("what was lost for good is confirmed by the server's memory", async (context) => {
  const server = await serverFor(context);
  const proxy = await FaultProxy.start({ host: "127.0.0.1", port: server.port });
  context.after(() => proxy.stop());
  const [ada, bob] = clients(context, [`ws://127.0.0.1:${proxy.port}/`], [server.url]);
  await Promise.all([ada.join("lobby"), bob.join("lobby")]);
  const bobHears = hearing(bob);
  proxy.cutAfter(1, "down", "reset");
  proxy.refuse = true;
  const saying = ada.say("lobby", "mine");
  await bobHears.until(1);
  // More was said than the server can replay from where Ada was.
  const room = server.room("lobby");
  room.missed = () => undefined;
  await bob.say("lobby", "another's");
  proxy.refuse = false;
  assert.equal((await next(ada, "recovered")).recovered, false);
  assert.equal((await saying).offset, 1);
  assert.equal(server.heard, 3);
});

test("a gap told in the middle of a connection, and rooms out of reach", async (context) => {
  const server = await serverFor(context);
  const [ada, bob] = clients(context, [server.url], [server.url]);
  const bobHears = hearing(bob);
  await Promise.all([ada.join("lobby"), bob.join("lobby")]);
  await ada.say("lobby", "1");
  await bobHears.until(1);
  server.isUnavailable = true;
  const refused = next(ada, "error");
  const saying = ada.say("lobby", "2");
  assert.equal((await refused).message, "Room unavailable");
  const told = [next(ada, "recovered"), next(bob, "recovered")];
  server.forget(7);
  server.isUnavailable = false;
  for (const { recovered, epochChanged, offset } of await Promise.all(told)) {
    assert.deepEqual([recovered, epochChanged, offset], [false, true, 7]);
  }
  assert.equal((await saying).offset, 8);
  assert.deepEqual(await bobHears.until(2), ["1", "2"]);
});

test("wrong credentials are the end", async (context) => {
  const authenticate = ({ password }) => (password === "right" ? "ada" : undefined);
  const server = await serverFor(context, { authenticate });
  const name = (password) => [server.url, { username: "Ada", password }];
  const [good, bad] = clients(context, name("right"), name("wrong"));
  const { code, willReconnect } = await next(bad, "close");
  assert.deepEqual([code, willReconnect], [4001, false]);
  await good.join("lobby");
  assert.equal((await good.say("lobby", "hello")).username, "ada");
});

test("a program ends by itself after close()", async (context) => {
  const server = await serverFor(context);
  const support = new URL("./support/chat-server.mjs", import.meta.url).href;
  const module = new URL("../ringwire.js", import.meta.url).href;
  const program = `
    import { RingwireClient } from "${module}";
    import { WebSocket } from "${support}";
    const client = new RingwireClient("${server.url}", { WebSocket });
    client.connect();
    await client.join("lobby");
    await client.say("lobby", "hello");
    client.close();
  `;
  const parameters = ["--input-type=module", "--eval", program];
  const error = await new Promise((resolve) => {
    execFile(process.execPath, parameters, { timeout: 20_000 }, resolve);
  });
  assert.equal(error, null);
});
