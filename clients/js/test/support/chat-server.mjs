// A small chat server on `ws` that keeps to the protocol of ringwire: rooms, offsets, history,
// ids published once, and if asked for a rate limit and tokens.
//
// As a program: node chat-server.mjs PORT. It prints its URL and serves until it is ended.

import { randomBytes } from "node:crypto";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(new URL("../../../../tests/clients/package.json", import.meta.url));
/** The `ws` package: its class WebSocket, with WebSocketServer as a property. */
export const WebSocket = require("ws");

const HISTORY_MESSAGES = 1000;

/**
 * Starts a server on a port of 127.0.0.1 and resolves once it listens.
 *
 * @param {object} [options]
 * @param {number} [options.port] 0: any
 * @param {number} [options.rateLimit] messages per connection and `rateWindow`
 * @param {number} [options.rateWindow] milliseconds
 * @param {(credentials: object) => string | undefined} [options.authenticate] makes `auth` the
 *   first message: returns the user id, or undefined to refuse
 */
export async function startChatServer(options = {}) {
  const server = new ChatServer(options);
  await server.listening;
  return server;
}

class ChatServer {
  rooms = new Map();
  /** How many chat messages came, published or not. */
  heard = 0;
  /** Whether rooms are out of reach. */
  isUnavailable = false;
  #options;
  #sockets;
  #connections = 0;

  constructor(options) {
    this.#options = { port: 0, rateLimit: Infinity, rateWindow: 60_000, ...options };
    const { port } = this.#options;
    this.#sockets = new WebSocket.WebSocketServer({ host: "127.0.0.1", port });
    this.listening = new Promise((resolve, reject) => {
      this.#sockets.once("listening", resolve).once("error", reject);
    });
    this.#sockets.on("connection", (socket) => {
      new Visitor(this, socket, String(++this.#connections), this.#options);
    });
  }

  get port() {
    return this.#sockets.address().port;
  }

  get url() {
    return `ws://127.0.0.1:${this.port}/`;
  }

  get connections() {
    return this.#sockets.clients.size;
  }

  room(id) {
    if (!this.rooms.has(id)) this.rooms.set(id, new Room(id));
    return this.rooms.get(id);
  }

  /** An empty room is gone, and its history with it. */
  leave(room, visitor) {
    room.leave(visitor);
    if (room.members.size === 0) this.rooms.delete(room.id);
  }

  /** Begins all rooms anew, with so many messages that nobody hears, and tells their members. */
  forget(unheard) {
    for (const room of this.rooms.values()) room.forget(unheard);
  }

  closeAll(code, reason) {
    for (const socket of this.#sockets.clients) socket.close(code, reason);
  }

  /** Cuts every connection and stops listening. */
  async stop() {
    for (const socket of this.#sockets.clients) socket.terminate();
    await new Promise((resolve) => this.#sockets.close(resolve));
  }
}

/** Members, and the messages said while there was any. */
class Room {
  members = new Set();

  constructor(id) {
    this.id = id;
    this.renew();
  }

  renew() {
    this.epoch = randomBytes(8).toString("hex");
    this.offset = 0;
    this.history = [];
    this.byId = new Map();
  }

  /** Everything after `since`, or undefined if some of it is gone. */
  missed(since) {
    if (since?.epoch !== this.epoch || since.offset > this.offset) return undefined;
    const count = this.offset - since.offset;
    return count > this.history.length ? undefined : this.history.slice(-count || Infinity);
  }

  join(visitor, since) {
    const isNew = !this.members.has(visitor);
    this.members.add(visitor);
    const missed = this.missed(since);
    this.answer(visitor, missed !== undefined);
    for (const message of missed ?? []) visitor.tell(message);
    if (isNew) this.tellOthers(visitor, "user_joined");
  }

  forget(unheard) {
    this.renew();
    this.offset = unheard;
    for (const member of this.members) this.answer(member, false);
  }

  answer(visitor, recovered) {
    const { id: roomId, epoch, offset } = this;
    const userCount = this.members.size;
    visitor.tell({ type: "room_joined", roomId, userCount, epoch, offset, recovered });
  }

  leave(visitor) {
    if (this.members.delete(visitor)) this.tellOthers(visitor, "user_left");
  }

  tellOthers(visitor, type) {
    for (const member of this.members) {
      if (member !== visitor) member.tell({ type, roomId: this.id, userCount: this.members.size });
    }
  }

  /** Publishes an id once: who says it again is told what was published. */
  publish(visitor, username, text, id) {
    const known = this.byId.get(id);
    if (known) return visitor.tell(known);
    this.offset += 1;
    const { id: roomId, offset } = this;
    const timestamp = Date.now();
    const message = { type: "chat_message", roomId, username, text, timestamp, offset, id };
    if (id !== undefined) this.byId.set(id, message);
    this.history.push(message);
    if (this.history.length > HISTORY_MESSAGES) this.byId.delete(this.history.shift().id);
    for (const member of this.members) member.tell(message);
  }
}

/** A connection. */
class Visitor {
  #server;
  #socket;
  #options;
  #userId;
  #joined = [];
  #counted = 0;
  #windowEnds = 0;

  constructor(server, socket, connectionId, options) {
    this.#server = server;
    this.#socket = socket;
    this.#options = options;
    if (!options.authenticate) this.#userId = `guest-${connectionId}`;
    socket.on("message", (data, isBinary) => this.#hear(isBinary ? undefined : String(data)));
    socket.on("error", () => {});
    socket.on("close", () => this.#joined.forEach((room) => server.leave(room, this)));
    const timestamp = Date.now();
    this.tell({ type: "welcome", message: "Connected to server", timestamp, connectionId });
  }

  tell(message) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #fail(message) {
    this.tell({ type: "error", message });
  }

  #hear(text) {
    if (this.#isTooFast()) return this.#fail("Rate limit exceeded");
    if (text === undefined) return this.#fail("Invalid message format");
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return this.#fail("Invalid JSON");
    }
    if (message?.type === "auth") return this.#authenticate(message);
    if (this.#userId === undefined) return this.#fail("Not authenticated");
    return this.#understand(message);
  }

  #isTooFast() {
    const now = Date.now();
    if (now >= this.#windowEnds) {
      this.#windowEnds = now + this.#options.rateWindow;
      this.#counted = 0;
    }
    return ++this.#counted > this.#options.rateLimit;
  }

  #authenticate({ type: _, ...credentials }) {
    const { authenticate } = this.#options;
    const userId = authenticate ? authenticate(credentials) : credentials.username;
    if (userId === undefined) return this.#socket.close(4001, "Authentication failed");
    this.#userId = userId;
    this.tell({ type: "auth_success", userId });
  }

  #understand(message) {
    const { type, roomId, text, id, since } = message ?? {};
    const room = this.#joined.find((joined) => roomId === undefined || joined.id === roomId);
    if (type === "ping") return this.tell({ type: "pong" });
    const isOfRoom = type === "join_room" || type === "chat_message";
    if (isOfRoom && this.#server.isUnavailable) return this.#fail("Room unavailable");
    if (type === "join_room" && has(roomId, 50)) return this.#join(roomId, since);
    if (type === "leave_room") return room ? this.#leave(room) : this.#fail("Not in room");
    if (type === "chat_message" && has(text, 1000) && (id === undefined || has(id, 64))) {
      this.#server.heard += 1;
      return room ? room.publish(this, this.#userId, text, id) : this.#fail("Not in room");
    }
    return this.#fail("Invalid message format");
  }

  #join(roomId, since) {
    const room = this.#server.room(roomId);
    // The room joined last is the first.
    this.#joined = [room, ...this.#joined.filter((joined) => joined !== room)];
    room.join(this, since);
  }

  #leave(room) {
    this.#joined = this.#joined.filter((joined) => joined !== room);
    this.#server.leave(room, this);
  }
}

function has(text, max) {
  return typeof text === "string" && text !== "" && [...text].length <= max;
}

const [program, port] = process.argv.slice(1);
// Without a port it is no program: `node --test` runs every file of this folder.
if (port !== undefined && import.meta.url === pathToFileURL(program).href) {
  const server = await startChatServer({ port: Number(port) });
  console.log(`listening on ${server.url}`);
}
