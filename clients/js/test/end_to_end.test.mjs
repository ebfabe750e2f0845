// The client against a server over real sockets.

import assert from "node:assert/strict";
import { test } from "node:test";
import { RingwireClient } from "../ringwire.js";
import { startChatServer, WebSocket } from "./support/chat-server.mjs";

test("two clients talk", async (context) => {
  const server = await startChatServer();
  context.after(() => server.stop());
  const ada = new RingwireClient(server.url, { WebSocket, username: "Ada" });
  const bob = new RingwireClient(server.url, { WebSocket });
  context.after(() => [ada, bob].forEach((client) => client.close()));
  ada.connect();
  bob.connect();
  const [joined] = await Promise.all([ada.join("lobby"), bob.join("lobby")]);
  assert.equal(joined.roomId, "lobby");
  const heard = new Promise((resolve) => {
    bob.on("message", (message) => message.type === "chat_message" && resolve(message));
  });
  const said = await ada.say("lobby", "hello");
  assert.equal(said.username, "Ada");
  assert.deepEqual(await heard, said);
  assert.equal(ada.userId, "Ada");
  assert.match(bob.userId, /^guest-/);
  assert.deepEqual([...ada.rooms.keys()], ["lobby"]);
  assert.deepEqual(ada.pending, []);
});
