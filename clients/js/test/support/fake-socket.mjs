// A client on a WebSocket and a clock that do only what a test tells them to.

import { RingwireClient } from "../../ringwire.js";

export const EPOCH = "00000000000000e1";

/** Lets everything run that waits for nothing but its turn. */
export const settled = () => new Promise((resolve) => setImmediate(resolve));

/** What the client sees of a server that is played by the test. */
export class FakeSocket {
  sent = [];
  isTerminated = false;
  closedWith;
  #listeners = new Map();

  constructor(url) {
    this.url = url;
  }

  addEventListener(name, handler) {
    this.#listeners.set(name, handler);
  }

  send(data) {
    this.sent.push(JSON.parse(data));
  }

  close(code, reason) {
    this.closedWith = { code, reason };
  }

  terminate() {
    this.isTerminated = true;
  }

  /** Messages sent since the last call, pings aside. */
  takeSent() {
    return this.sent.splice(0).filter(({ type }) => type !== "ping");
  }

  fire(name, event = {}) {
    this.#listeners.get(name)(event);
  }

  receive(message) {
    this.fire("message", { data: JSON.stringify(message) });
  }

  /** The TCP connection and the upgrade are there, and the server's first words. */
  open(timestamp = Date.now()) {
    this.fire("open");
    this.receive({ type: "welcome", message: "Connected to server", timestamp, connectionId: "7" });
  }

  joined(roomId, offset, { recovered = false, epoch = EPOCH, userCount = 1 } = {}) {
    this.receive({ type: "room_joined", roomId, userCount, epoch, offset, recovered });
  }

  chat(roomId, offset, { id, text = `text ${offset}` } = {}) {
    const [username, timestamp] = ["Ada", Date.now()];
    this.receive({ type: "chat_message", roomId, username, text, timestamp, offset, id });
  }

  error(message) {
    this.receive({ type: "error", message });
  }

  lose(code = 1006, reason = "") {
    this.fire("close", { code, reason });
  }
}

/** A client that has not connected yet, what it reports, and its sockets. */
export function fakeClient(context, options = {}) {
  context.mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_700_000_000_000 });
  const sockets = [];
  class WebSocket extends FakeSocket {
    constructor(url) {
      super(url);
      sockets.push(this);
    }
  }
  const defaults = { WebSocket, random: () => 0.5 };
  const client = new RingwireClient("ws://chat.test/", { ...defaults, ...options });
  const events = [];
  for (const name of ["open", "message", "close", "reconnecting", "recovered", "error", "state"]) {
    client.on(name, (event) => events.push([name, event]));
  }
  return {
    client,
    sockets,
    events,
    get socket() {
      return sockets.at(-1);
    },
    /** The events of one name. */
    of: (name) => events.filter(([other]) => other === name).map(([, event]) => event),
    texts: () =>
      events.filter(([, event]) => event.type === "chat_message").map(([, event]) => event.text),
    async tick(milliseconds) {
      context.mock.timers.tick(milliseconds);
      await settled();
    },
    async connect() {
      client.connect();
      await settled();
      sockets.at(-1).open();
    },
    /** Connected, and in a room that has so many messages. */
    async enter(roomId = "lobby", offset = 0) {
      await this.connect();
      const joined = client.join(roomId);
      sockets.at(-1).joined(roomId, offset);
      await joined;
      sockets.at(-1).takeSent();
    },
    /** Loses the connection and makes the next one. */
    async reconnect() {
      sockets.at(-1).lose();
      await this.tick(30_000);
      sockets.at(-1).open();
    },
  };
}
