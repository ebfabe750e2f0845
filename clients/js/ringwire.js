// ringwire: client of the ringwire chat, for browsers and Node. SPDX: MIT OR Apache-2.0
//
// What it promises on top of a WebSocket that may break at any byte:
//   * every message of a joined room is delivered once and in order, or the gap is announced;
//   * everything said is confirmed by the server, however often the connection breaks on the way.
//
// How: the server numbers the messages of a room (epoch, offset) and replays what was missed to a
// client that names its last one. Whatever is said carries an id that stays the same when it is
// sent again, and the server publishes an id once. So each doubt has one cure: join the room again
// "since" the last message, let the replay confirm what did arrive, and send the rest again.
//
// In this file: the client; then a room's place in its stream, the messages not yet confirmed, one
// connection, named timers; small helpers last.

/** @import { ClientOptions, ChatMessage, JoinResult } from "./ringwire.d.ts" */

const DEFAULTS = {
  WebSocket: undefined,
  token: undefined,
  tokenIn: "query",
  username: undefined,
  password: undefined,
  refresh: 60_000,
  backoff: { base: 500, cap: 30_000, stable: 10_000 },
  attempts: Infinity,
  queue: { size: 1000, policy: "reject" },
  sendOffline: "throw",
  heartbeat: { interval: 15_000, timeout: 5_000 },
  connectTimeout: 10_000,
  inFlight: 1,
  reconnectOn: (code, canRenew) =>
    code !== NORMAL_CLOSURE && (code !== UNAUTHORIZED || canRenew),
  random: () => Math.random(),
  now: () => Date.now(),
};

/** What would silently break things below it; other numbers may be 0. */
const LEAST = {
  connectTimeout: 1,
  inFlight: 1,
  "heartbeat.interval": 1,
  "heartbeat.timeout": 1,
  "queue.size": 1,
};

const CHOICES = {
  tokenIn: ["query", "message"],
  sendOffline: ["throw", "queue"],
  "queue.policy": ["reject", "drop-oldest", "drop-newest"],
};

const NORMAL_CLOSURE = 1000;
const NO_CLOSE_FRAME = 1006;
const UNAUTHORIZED = 4001;

/** The server's bounds, in Unicode scalar values; of the token in bytes. */
const ROOM_ID_MAX = 50;
const TEXT_MAX = 1000;
const USERNAME_MAX = 50;
const PASSWORD_MAX = 128;
const EPOCH_MAX = 64;
const TOKEN_MAX = 4000;
/** What a close frame can carry (RFC 6455, 5.5), in bytes. */
const CLOSE_REASON_MAX = 123;

/** How long the server may owe the answer to a join or a message before it is asked again. */
const ANSWER_TIMEOUT = 10_000;
/** The waits after "Rate limit exceeded" and "Room unavailable": doubled while refusals go on. */
const HOLD_MIN = 1_000;
const HOLD_MAX = 10_000;
/** Ids remembered per room: as many messages as the server keeps. */
const SEEN_IDS = 1_000;
/** The shortest time between two refreshes of a token. */
const REFRESH_MIN = 1_000;
/** What setTimeout can wait at most. */
const TIMER_MAX = 2 ** 31 - 1;

/** Messages that would confuse the client's books if they were sent behind its back. */
const OWN_METHODS = { join_room: "join()", leave_room: "leave()", chat_message: "say()" };

/** A connection to a ringwire server that heals itself. See README.md for the guarantees. */
export class RingwireClient {
  #url;
  #options;
  #state = "idle";
  #handlers = new Map();
  #timers = new Timers();
  /** Consecutive attempts without a stable connection in between. */
  #attempt = 0;
  /** The one connection or attempt. @type {Line | undefined} */
  #line;
  /** The rooms to be in, in the order they were joined. @type {Map<string, Room>} */
  #rooms = new Map();
  #outbox;
  /** Objects of send() that wait for a connection (`sendOffline: "queue"`). */
  #unsent = [];
  #userId;
  #latency;
  /** The server has said that it cannot serve a room now, and has answered nothing since. */
  #isUnavailable = false;
  #stopListening = () => {};

  /**
   * Does not connect yet: connect() does.
   *
   * @param {string | URL} url `ws:`, `wss:`, `http:` or `https:`; in a browser also relative
   * @param {ClientOptions} [options]
   */
  constructor(url, options = {}) {
    this.#options = settle(options);
    checkCredentials(this.#options);
    this.#options.WebSocket ??= globalThis.WebSocket;
    if (typeof this.#options.WebSocket !== "function") {
      throw new TypeError(
        "there is no WebSocket here: pass one, as in new RingwireClient(url, { WebSocket })",
      );
    }
    this.#url = webSocketUrl(url);
    this.#outbox = new Outbox(this.#options.queue, this.#options.inFlight);
  }

  /** "idle", "connecting", "authenticating", "open", "waiting" (for the next attempt), "closed". */
  get state() {
    return this.#state;
  }

  /** The rooms joined so far: a snapshot. */
  get rooms() {
    const joined = [...this.#rooms.values()].filter((room) => room.epoch !== undefined);
    return new Map(joined.map((room) => [room.id, room.view()]));
  }

  /** Milliseconds from the last ping to its pong, or undefined. */
  get latency() {
    return this.#latency;
  }

  /** Who we are to the server, as far as it is known. */
  get userId() {
    return this.#userId;
  }

  /** What was said and is not confirmed yet, oldest first: a snapshot. */
  get pending() {
    return this.#outbox.view();
  }

  /**
   * Calls `handler` for every event of this name.
   *
   * @param {string} name open, message, close, reconnecting, recovered, error or state
   * @param {(event: any) => void} handler
   * @returns {() => void} ends it
   */
  on(name, handler) {
    if (!this.#handlers.has(name)) this.#handlers.set(name, new Set());
    // A wrapper of its own, so that registering a handler twice needs two ends.
    const entry = (event) => handler(event);
    this.#handlers.get(name).add(entry);
    return () => this.#handlers.get(name).delete(entry);
  }

  /** Connects; while waiting for the next attempt, makes it now; otherwise does nothing. */
  connect() {
    if (this.#state === "idle" || this.#state === "closed") {
      this.#attempt = 0;
      this.#stopListening = listenToBrowser({
        wake: () => this.#wake(),
        doubt: () => this.#ping(),
      });
      this.#dial();
    } else if (this.#state === "waiting") {
      this.#dial();
    }
  }

  /** Ends the connection for good, until connect() is called. What is pending is rejected. */
  close(code = NORMAL_CLOSURE, reason = "") {
    if (code !== NORMAL_CLOSURE && !(Number.isInteger(code) && code >= 3000 && code <= 4999)) {
      throw new RangeError(`close code ${code}: must be 1000, or 3000 to 4999`);
    }
    if (byteLength(reason) > CLOSE_REASON_MAX) {
      throw new RangeError(`the reason of a close has at most ${CLOSE_REASON_MAX} bytes`);
    }
    if (this.#state === "closed") return;
    this.#line?.close(code, reason);
    this.#end(code, reason);
  }

  /**
   * Joins a room, now or once connected, and again after every reconnect until leave().
   *
   * @param {string} roomId
   * @param {{since?: {epoch: string, offset: number}}} [options] since: the last message known
   *   from earlier; the server replays what came after it, if it still can
   * @returns {Promise<JoinResult>}
   */
  join(roomId, { since } = {}) {
    const fault = nameFault(roomId, ROOM_ID_MAX);
    if (fault) return rejected(new RangeError(`the room id ${fault}`));
    if (since !== undefined && !isPosition(since)) {
      return rejected(new RangeError("since must be {epoch, offset}, as the server told them"));
    }
    if (this.#state === "closed") return rejected(new Error("the client is closed"));
    let room = this.#rooms.get(roomId);
    if (!room) {
      room = new Room(roomId, since);
      this.#rooms.set(roomId, room);
      this.#ask(room);
    }
    return room.result();
  }

  /** Leaves a room. What was said there and is not confirmed yet is rejected. */
  leave(roomId) {
    const room = this.#rooms.get(roomId);
    if (!room) return;
    this.#forget(room, new Error(`left the room ${roomId}`));
    if (this.#state !== "open") return;
    this.#line.toLeave.add(roomId);
    this.#sendLeaves();
  }

  /**
   * Says something in a room that was joined; while offline it waits for the connection.
   *
   * @param {string} roomId
   * @param {string} text
   * @returns {Promise<ChatMessage> & {id?: string}} the message as the server published it
   */
  say(roomId, text) {
    const fault = textFault(text, TEXT_MAX, /[^\P{Cc}\n\t]/u);
    if (fault) return rejected(new RangeError(`the text ${fault}`));
    if (this.#state === "closed") return rejected(new Error("the client is closed"));
    if (!this.#rooms.has(roomId)) return rejected(new Error(`not in room ${roomId}: join() first`));
    const said = this.#outbox.add(roomId, text);
    this.#pump();
    return said;
  }

  /**
   * Sends any other message, such as `{type: "ping"}`, without any guarantee.
   *
   * @throws {Error} when not open and `sendOffline` is "throw", or too many wait
   */
  send(message) {
    const method = OWN_METHODS[message?.type];
    if (method) throw new TypeError(`a ${message.type} is sent by ${method}`);
    if (this.#state === "open") {
      this.#line.sendForeign(message);
      return;
    }
    if (this.#options.sendOffline === "throw" || this.#state === "closed") {
      throw new Error(`cannot send while ${this.#state}`);
    }
    const { size, policy } = this.#options.queue;
    if (this.#unsent.length >= size) {
      if (policy === "reject") throw new Error(`the queue is full: ${size} messages wait`);
      policy === "drop-oldest" ? this.#unsent.shift() : this.#unsent.pop();
    }
    this.#unsent.push(message);
  }

  // --- From an attempt to an open connection, and to its end.

  async #dial() {
    const line = new Line();
    this.#line = line;
    this.#timers.clear("retry");
    this.#timers.set("connect", this.#options.connectTimeout, () => {
      this.#drop(`not connected within ${this.#options.connectTimeout} ms`);
    });
    this.#userId = undefined;
    this.#setState("connecting");
    if (line !== this.#line) return;
    try {
      await this.#fetchToken(line);
    } catch (cause) {
      if (line !== this.#line) return;
      this.#report("token", `the token function failed: ${cause?.message ?? cause}`, cause);
      if (line === this.#line) this.#drop("no token");
      return;
    }
    if (line !== this.#line) return;
    try {
      line.dial(this.#options.WebSocket, this.#urlWith(line.token), {
        opened: () => this.#connected(line),
        received: (data) => this.#received(line, data),
        failed: (event) => this.#report("network", event.message || "network error", event.error),
        closed: ({ code, reason }) => this.#lost(code, reason),
      });
    } catch (cause) {
      this.#report("network", `the WebSocket cannot be made: ${cause.message}`, cause);
      if (line === this.#line) this.#drop("no WebSocket");
    }
  }

  async #fetchToken(line) {
    const { token } = this.#options;
    if (token === undefined) return;
    const value = typeof token === "function" ? await token() : token;
    const fault = tokenFault(value);
    if (fault) throw new TypeError(`the token ${fault}`);
    line.token = value;
  }

  #urlWith(token) {
    if (token === undefined || this.#options.tokenIn !== "query") return this.#url.href;
    const url = new URL(this.#url);
    url.searchParams.set("token", token);
    return url.href;
  }

  #connected(line) {
    this.#setState("authenticating");
    if (line !== this.#line) return;
    const { username, password, tokenIn } = this.#options;
    if (line.token !== undefined && tokenIn === "message") {
      line.authenticate({ token: line.token });
    } else if (line.token === undefined && username !== undefined) {
      line.authenticate({ username, password });
    }
  }

  /** Opens once the server has said welcome and, if it was asked to, has authenticated us. */
  #openIfReady(line) {
    if (this.#state !== "authenticating" || !line.welcome || line.authenticating) return;
    this.#timers.clear("connect");
    line.openedAt = this.#options.now();
    if (line.token !== undefined) this.#userId ??= claims(line.token)?.sub;
    else if (this.#options.username === undefined) {
      this.#userId = `guest-${line.welcome.connectionId}`;
    }
    this.#setState("open");
    if (line === this.#line) this.#emit("open", { userId: this.#userId });
    if (line !== this.#line) return;
    // The first ping goes ahead of everything, so that the latency is soon known.
    if (this.#options.heartbeat.interval !== Infinity) this.#ping();
    for (const message of this.#unsent.splice(0)) line.sendForeign(message);
    for (const room of this.#rooms.values()) this.#ask(room);
    this.#scheduleRefresh(line);
  }

  /** Gives the connection up at once: a dead one would not answer a close frame. */
  #drop(reason) {
    this.#line.abandon();
    this.#lost(NO_CLOSE_FRAME, reason);
  }

  #lost(code, reason) {
    const { backoff, attempts, reconnectOn, random, now, token } = this.#options;
    const { openedAt } = this.#line;
    if (now() - openedAt >= backoff.stable) this.#attempt = 0;
    // A token that was good may have expired in our sleep; one refused from the start is wrong.
    const canRenew = typeof token === "function" && !Number.isNaN(openedAt);
    if (!reconnectOn(code, canRenew) || this.#attempt >= attempts) {
      this.#end(code, reason);
      return;
    }
    this.#disconnect();
    const doubled = backoff.base * 2 ** Math.min(this.#attempt, 30);
    const ceiling = Math.min(backoff.cap, doubled, TIMER_MAX);
    const delay = random() * ceiling;
    const attempt = ++this.#attempt;
    this.#timers.set("retry", delay, () => this.#dial());
    this.#setState("waiting");
    // A handler may have ended it: then the end was told, and there is nothing to come.
    if (this.#state === "closed" || this.#attempt !== attempt) return;
    this.#emit("close", { code, reason, willReconnect: true });
    if (this.#state === "waiting" && this.#attempt === attempt) {
      this.#emit("reconnecting", { attempt, delay });
    }
  }

  /** Ends without another attempt. */
  #end(code, reason) {
    this.#disconnect();
    this.#stopListening();
    this.#unsent = [];
    const error = new Error(`the connection was closed: ${code}${reason ? ` ${reason}` : ""}`);
    error.code = code;
    this.#outbox.rejectAll(error);
    for (const room of this.#rooms.values()) {
      room.reject(error);
      // A join that was rejected must not come true at the next connect().
      if (room.epoch === undefined) this.#rooms.delete(room.id);
    }
    this.#setState("closed");
    this.#emit("close", { code, reason, willReconnect: false });
  }

  #disconnect() {
    this.#timers.clearAll();
    this.#line = undefined;
    this.#latency = undefined;
    for (const room of this.#rooms.values()) room.phase = "away";
    this.#outbox.recall();
  }

  // --- What the server says.

  #received(line, data) {
    const message = parse(data);
    if (!message) {
      this.#report("protocol", "the server sent something that is no JSON object");
      return;
    }
    this.#timers.clear("pong");
    switch (message.type) {
      case "chat_message":
        this.#chat(line, message);
        return;
      case "room_joined":
        this.#joined(line, message);
        return;
      case "user_joined":
      case "user_left":
        this.#rooms.get(message.roomId)?.count(message.userCount);
        break;
      case "welcome":
        line.welcome = message;
        break;
      case "auth_success":
        line.authenticating = false;
        this.#userId = message.userId;
        if (this.#state === "open") this.#scheduleRefresh(line);
        break;
      case "pong":
        this.#pong(line);
        break;
    }
    this.#emit("message", message);
    if (line !== this.#line) return;
    if (message.type === "error") this.#refused(line, message.message);
    else this.#openIfReady(line);
  }

  #chat(line, message) {
    const room = this.#rooms.get(message.roomId);
    const verdict = room?.accept(message, this.#outbox.has(message));
    if (verdict === "gap") {
      this.#report("protocol", `${room.id}: ${message.offset} came after ${room.offset}`);
      if (line !== this.#line) return;
      if (room.phase === "joined") {
        this.#goAway(room);
        this.#ask(room);
        return;
      }
      // The replay itself has a hole, so asking again would not fill it.
      room.skipTo(message);
    } else if (verdict !== "next" && verdict !== "known") {
      return;
    }
    const confirm = this.#outbox.confirm(message);
    if (verdict !== "known") this.#emit("message", message);
    confirm?.(message);
    if (line !== this.#line) return;
    if (confirm) {
      line.setbacks = 0;
      this.#isUnavailable = false;
    }
    this.#settleIfComplete(room);
    if (!confirm) return;
    this.#blame();
    this.#pump();
  }

  #joined(line, message) {
    const room = this.#rooms.get(message.roomId);
    line.joins.delete(message.roomId);
    if (this.#isUnavailable) line.setbacks = 0;
    this.#isUnavailable = false;
    // Unasked: the server tells that what is between our place and this one is lost, and what we
    // said may be part of it. But a join that was asked twice has a second answer, with no news.
    if (room?.phase === "joined" && !room.isAt(message)) this.#goAway(room);
    room?.answer(message);
    this.#emit("message", message);
    if (line !== this.#line) return;
    if (room) this.#settleIfComplete(room);
    this.#blame();
  }

  /** A room is settled when the replay is through: now it is known what has to be sent again. */
  #settleIfComplete(room) {
    if (room.phase !== "replaying") return;
    const rejoined = room.settle();
    if (rejoined) this.#emit("recovered", rejoined);
    if (room.phase === "joined") this.#pump();
    else this.#expectAnswers();
  }

  #refused(line, reason) {
    // Of a room left twice, because the first time may have been refused.
    const isOfLeave = reason === "Not in room" && this.#outbox.inFlight === 0 && line.hasLeftAgain;
    const isUnavailable = reason === "Room unavailable";
    const isKnown = isUnavailable && this.#isUnavailable;
    this.#isUnavailable ||= isUnavailable;
    if (!isOfLeave && !isKnown) this.#report("server", reason);
    if (line !== this.#line || this.#state !== "open") return;
    if (isUnavailable) {
      // All clients of the server are told so at one moment, and are not to come back at one.
      const wait = Math.min(HOLD_MIN * 2 ** line.setbacks, HOLD_MAX);
      if (!this.#timers.has("hold")) this.#hold(wait * (1 + this.#options.random()) / 2);
    } else if (reason === "Rate limit exceeded") {
      // What has no answer may be what was refused.
      line.leaveAgain();
      if (!this.#timers.has("hold")) this.#hold(Math.min(HOLD_MIN * 2 ** line.setbacks, HOLD_MAX));
    } else if (reason === "Not in room" && this.#outbox.inFlight > 0) {
      // At once for the first time, then slowly: the server may go on denying it.
      this.#hold(line.setbacks && Math.min(HOLD_MIN * 2 ** (line.setbacks - 1), HOLD_MAX));
      for (const roomId of this.#outbox.roomsInFlight()) this.#goAway(this.#rooms.get(roomId));
    } else if (
      reason === "Too many rooms" ||
      (reason === "Invalid message format" && !line.hasForeign)
    ) {
      line.refusals.push(reason);
      this.#blame();
    }
  }

  /**
   * The server does not say what it refused. But each join and each message has one answer: when
   * as many were refused as are unanswered, it was these. Nothing else is asked until then.
   */
  #blame() {
    if (this.#state !== "open") return;
    const { refusals, joins } = this.#line;
    if (refusals.length === 0 || refusals.length < joins.size + this.#outbox.inFlight) return;
    const error = new Error([...new Set(refusals)].join(", "));
    for (const roomId of joins) {
      const room = this.#rooms.get(roomId);
      if (room) this.#forget(room, error);
    }
    this.#outbox.rejectInFlight(error);
    this.#askAgain();
  }

  #forget(room, error) {
    this.#rooms.delete(room.id);
    room.reject(error);
    this.#outbox.rejectRoom(room.id, error);
    this.#pump();
  }

  /** The room has to be joined again; what it owes us is not waited for, and said again then. */
  #goAway(room) {
    room.phase = "away";
    this.#outbox.recall(room.id);
  }

  // --- Asking, sending, and asking again.

  /** Not while the server wants to be left alone, or before it is clear what it refused. */
  #mayAsk() {
    if (this.#state !== "open" || this.#timers.has("hold")) return false;
    return this.#line.refusals.length === 0;
  }

  #ask(room) {
    if (this.#state === "open") this.#line.stay(room.id);
    if (this.#mayAsk()) {
      this.#line.joins.add(room.id);
      this.#line.send({ type: "join_room", roomId: room.id, since: room.since() });
    }
    this.#expectAnswers();
  }

  #pump() {
    if (this.#mayAsk()) {
      const isReady = (roomId) => this.#rooms.get(roomId).phase === "joined";
      for (const message of this.#outbox.take(isReady)) this.#line.send(message);
    }
    this.#expectAnswers();
  }

  /** A leave has no answer: it counts as heard if no refusal follows it for a while. */
  #sendLeaves() {
    const line = this.#line;
    if (this.#timers.has("hold") || line.toLeave.size === 0) return;
    line.sendLeaves();
    this.#timers.set("left", ANSWER_TIMEOUT, () => line.left.clear());
  }

  /** Sends nothing but pings for a while, then asks again for all that is unanswered. */
  #hold(milliseconds) {
    this.#line.setbacks += 1;
    this.#timers.clear("answer");
    this.#timers.set("hold", milliseconds, () => this.#askAgain());
  }

  #askAgain() {
    const line = this.#line;
    line.refusals = [];
    line.joins.clear();
    this.#outbox.recall();
    if (line.authenticating) line.authenticate({ token: line.token });
    this.#sendLeaves();
    for (const room of this.#rooms.values()) if (room.phase !== "joined") this.#ask(room);
    this.#pump();
  }

  /** Restarts the wait for answers: after each of them, and each time something is asked. */
  #expectAnswers() {
    if (this.#state !== "open" || this.#timers.has("hold")) return;
    const isOwed = (room) => room.phase !== "joined";
    const { authenticating } = this.#line;
    const isWaiting = authenticating || this.#outbox.inFlight > 0;
    if (!isWaiting && ![...this.#rooms.values()].some(isOwed)) {
      this.#timers.clear("answer");
      return;
    }
    this.#timers.set("answer", ANSWER_TIMEOUT, () => {
      this.#report("protocol", `no answer within ${ANSWER_TIMEOUT} ms: asking again`);
      if (this.#state !== "open") return;
      // By now the user's own messages have their answers.
      this.#line.hasForeign = false;
      for (const roomId of this.#outbox.roomsInFlight()) this.#goAway(this.#rooms.get(roomId));
      this.#askAgain();
    });
  }

  // --- Is the line alive?

  #schedulePing() {
    this.#timers.set("ping", this.#options.heartbeat.interval, () => this.#ping());
  }

  /** Any message counts as an answer. */
  #ping() {
    if (this.#state !== "open") return;
    this.#schedulePing();
    if (this.#timers.has("pong")) return;
    const { timeout } = this.#options.heartbeat;
    const sentAt = this.#options.now();
    this.#line.pingedAt = sentAt;
    this.#line.send({ type: "ping" });
    this.#timers.set("pong", timeout, () => {
      // A timer that is very late tells of a sleeping machine: the answer may be in the next event.
      const hasSlept = this.#options.now() - sentAt > 2 * timeout;
      if (hasSlept) this.#ping();
      else this.#drop(`no sign of life within ${timeout} ms`);
    });
  }

  #pong(line) {
    if (line.pingedAt !== undefined) this.#latency = this.#options.now() - line.pingedAt;
    line.pingedAt = undefined;
  }

  /** The network or the page is back. */
  #wake() {
    if (this.#state === "waiting") this.#dial();
    else this.#ping();
  }

  // --- Renewing the token before it expires.

  #scheduleRefresh(line) {
    const expiry = line.token === undefined ? undefined : claims(line.token)?.exp;
    if (typeof this.#options.token !== "function" || typeof expiry !== "number") return;
    // The server's clock decides, and its welcome told the time.
    const skew = line.welcome.timestamp - line.openedAt || 0;
    const left = expiry * 1000 - (this.#options.now() + skew);
    const delay = Math.max(left - this.#options.refresh, left / 2, REFRESH_MIN);
    const isFarAway = delay > TIMER_MAX;
    this.#timers.set("refresh", Math.min(delay, TIMER_MAX), () => {
      if (isFarAway) this.#scheduleRefresh(line);
      else this.#refresh(line);
    });
  }

  /** The server's consent brings on the next one; until it comes the token is sent again. */
  async #refresh(line) {
    try {
      await this.#fetchToken(line);
    } catch (cause) {
      if (line !== this.#line) return;
      this.#report("token", `the token function failed: ${cause?.message ?? cause}`, cause);
      if (line === this.#line) this.#scheduleRefresh(line);
      return;
    }
    if (line !== this.#line) return;
    if (this.#timers.has("hold")) line.authenticating = true;
    else line.authenticate({ token: line.token });
    this.#expectAnswers();
  }

  // --- Telling the user.

  #setState(state) {
    if (state === this.#state) return;
    const previous = this.#state;
    this.#state = state;
    this.#emit("state", { state, previous });
  }

  #report(kind, message, cause) {
    this.#emit("error", { kind, message, cause });
  }

  /** A handler that throws is reported as any uncaught error, and disturbs nobody else. */
  #emit(name, event) {
    for (const handler of [...(this.#handlers.get(name) ?? [])]) {
      try {
        handler(event);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}

/** A room, and our place in its stream of messages. */
class Room {
  /** "away": not joined on this line; "replaying": joined, hears what it missed; "joined". */
  phase = "away";
  userCount = 0;
  epoch;
  /** The offset of the last message delivered. */
  offset;
  #wasJoined = false;
  #answer;
  #waiting = [];
  #seen = new Set();
  #since;

  constructor(id, since) {
    this.id = id;
    this.#since = since;
  }

  view() {
    return { userCount: this.userCount, epoch: this.epoch, offset: this.offset };
  }

  count(userCount) {
    this.userCount = userCount;
  }

  since() {
    return this.epoch === undefined ? this.#since : { epoch: this.epoch, offset: this.offset };
  }

  isAt({ epoch, offset }) {
    return this.epoch === epoch && this.offset === offset;
  }

  /** A promise of the result of the join that is under way, or of the last one. */
  result() {
    if (this.phase === "joined") return Promise.resolve(this.#joinResult(this.offset));
    const promise = new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
    promise.catch(() => {});
    return promise;
  }

  reject(error) {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }

  #joinResult(offset) {
    const { roomId, recovered } = this.#answer;
    return { roomId, userCount: this.userCount, epoch: this.epoch, offset, recovered };
  }

  /** The server's `room_joined`: says where its stream goes on for us. */
  answer({ userCount, epoch, offset, recovered }) {
    const since = this.since();
    const isResumed = recovered === true && since?.epoch === epoch && since.offset <= offset;
    const missed = since?.epoch === epoch ? Math.max(0, offset - since.offset) : undefined;
    this.#answer = {
      roomId: this.id,
      recovered: isResumed,
      epochChanged: since !== undefined && since.epoch !== epoch,
      offset,
      missed,
    };
    this.userCount = userCount;
    this.epoch = epoch;
    this.offset = isResumed ? since.offset : offset;
    if (this.phase === "away") this.phase = "replaying";
  }

  /**
   * "next" if the message is to be delivered, "known" if it was, "gap" if others are missing before
   * it, "early" if it cannot be told. `isMine`: it is what we wait for; then it may be an old one,
   * said again and published the first time, in what we missed for good.
   */
  accept({ offset, id }, isMine) {
    // Without an answer on this line the epoch is unknown; the replay will bring it again.
    if (this.phase === "away") return "early";
    if (offset > this.offset + 1) return "gap";
    if (offset <= this.offset && !isMine) return "known";
    this.offset = Math.max(this.offset, offset);
    return this.#isNew(id) ? "next" : "known";
  }

  skipTo({ offset, id }) {
    this.offset = offset;
    this.#isNew(id);
  }

  /** Ends the replay if it is complete; returns the `recovered` event if this was a re-join. */
  settle() {
    if (this.offset < this.#answer.offset) return undefined;
    this.phase = "joined";
    const { roomId, recovered, epochChanged, offset, missed } = this.#answer;
    for (const { resolve } of this.#waiting.splice(0)) resolve(this.#joinResult(offset));
    const rejoined = this.#wasJoined;
    this.#wasJoined = true;
    return rejoined ? { roomId, recovered, epochChanged, offset, missed } : undefined;
  }

  /** A message sent again over a restart of the server has a new offset, but its old id. */
  #isNew(id) {
    if (id === undefined) return true;
    if (this.#seen.has(id)) return false;
    this.#seen.add(id);
    if (this.#seen.size > SEEN_IDS) this.#seen.delete(this.#seen.values().next().value);
    return true;
  }
}

/** What was said and is not confirmed yet, in order. */
class Outbox {
  #messages = new Map();
  #size;
  #policy;
  #inFlightMax;
  inFlight = 0;

  constructor({ size, policy }, inFlightMax) {
    this.#size = size;
    this.#policy = policy;
    this.#inFlightMax = inFlightMax;
  }

  view() {
    return [...this.#messages.values()].map(({ id, roomId, text }) => ({ id, roomId, text }));
  }

  /** Returns the promise of its confirmation, with the message's id. */
  add(roomId, text) {
    const full = new Error(`the queue is full: ${this.#size} messages wait`);
    if (this.#messages.size >= this.#size && !this.#makeRoom(full)) return rejected(full);
    const id = randomId();
    const promise = new Promise((resolve, reject) => {
      const said = { id, roomId, text, resolve, reject, isInFlight: false, wasSent: false };
      this.#messages.set(id, said);
    });
    // Whoever does not look at the promise must not be hit by its rejection.
    promise.catch(() => {});
    return Object.assign(promise, { id });
  }

  /** Only what was never sent can be dropped: of all else the server may know. */
  #makeRoom(error) {
    const unsent = [...this.#messages.values()].filter((said) => !said.wasSent);
    if (this.#policy === "reject" || unsent.length === 0) return false;
    this.#reject(this.#policy === "drop-oldest" ? unsent[0] : unsent.at(-1), error);
    return true;
  }

  /** The messages to send now: the oldest ones of rooms that are ready. */
  *take(isReady) {
    for (const said of this.#messages.values()) {
      if (this.inFlight >= this.#inFlightMax) return;
      if (said.isInFlight || !isReady(said.roomId)) continue;
      said.isInFlight = true;
      said.wasSent = true;
      this.inFlight += 1;
      yield { type: "chat_message", roomId: said.roomId, text: said.text, id: said.id };
    }
  }

  /** What is in flight, in one room or in all, has to be sent again, with the same ids. */
  recall(roomId) {
    for (const said of this.#inFlight()) {
      if (roomId !== undefined && said.roomId !== roomId) continue;
      said.isInFlight = false;
      this.inFlight -= 1;
    }
  }

  roomsInFlight() {
    return new Set(this.#inFlight().map((said) => said.roomId));
  }

  /** Whether this message is one that waits for its confirmation. */
  has({ id, roomId }) {
    return this.#messages.get(id)?.roomId === roomId;
  }

  /** Takes the message out that this one confirms; returns what resolves its promise. */
  confirm({ id, roomId }) {
    if (!this.has({ id, roomId })) return undefined;
    const said = this.#messages.get(id);
    this.#remove(said);
    return said.resolve;
  }

  rejectInFlight(error) {
    for (const said of this.#inFlight()) this.#reject(said, error);
  }

  rejectRoom(roomId, error) {
    for (const said of [...this.#messages.values()]) {
      if (said.roomId === roomId) this.#reject(said, error);
    }
  }

  rejectAll(error) {
    for (const said of [...this.#messages.values()]) this.#reject(said, error);
  }

  #inFlight() {
    return [...this.#messages.values()].filter((said) => said.isInFlight);
  }

  #reject(said, error) {
    this.#remove(said);
    said.reject(error);
  }

  #remove(said) {
    this.#messages.delete(said.id);
    if (said.isInFlight) this.inFlight -= 1;
  }
}

/** One attempt and the connection it leads to. Once closed or abandoned it says nothing more. */
class Line {
  token;
  welcome;
  /** An `auth` is on its way and the server has not agreed yet. */
  authenticating = false;
  openedAt = NaN;
  pingedAt;
  /** The rooms of the joins that are unanswered. */
  joins = new Set();
  /** Refusals of which it is not clear yet what they mean. */
  refusals = [];
  /** The rooms that are still to be left, and those that were a short while ago. */
  toLeave = new Set();
  left = new Set();
  hasLeftAgain = false;
  /** Refusals in a row. */
  setbacks = 0;
  /** The user has sent messages of which we do not know what the server makes of them. */
  hasForeign = false;
  #socket;
  #isOver = false;

  dial(WebSocket, url, { opened, received, failed, closed }) {
    const socket = new WebSocket(url);
    this.#socket = socket;
    // Listeners stay for good: `ws` throws errors that nobody listens to.
    const listen = (name, handler) => {
      socket.addEventListener(name, (event) => {
        if (!this.#isOver) handler(event);
      });
    };
    listen("open", opened);
    listen("message", (event) => received(event.data));
    listen("error", failed);
    listen("close", (event) => {
      this.#isOver = true;
      closed(event);
    });
  }

  authenticate(credentials) {
    this.authenticating = true;
    this.send({ type: "auth", ...credentials });
  }

  sendLeaves() {
    for (const roomId of this.toLeave) {
      this.send({ type: "leave_room", roomId });
      this.left.add(roomId);
    }
    this.toLeave.clear();
  }

  /** The rooms just left are to be left once more. */
  leaveAgain() {
    if (this.left.size > 0) this.hasLeftAgain = true;
    for (const roomId of this.left) this.toLeave.add(roomId);
    this.left.clear();
  }

  /** The room is not to be left after all. */
  stay(roomId) {
    this.toLeave.delete(roomId);
    this.left.delete(roomId);
  }

  send(message) {
    this.#socket.send(JSON.stringify(message));
  }

  sendForeign(message) {
    this.hasForeign = true;
    this.send(message);
  }

  close(code, reason) {
    this.#socket?.close(code, reason);
    this.#isOver = true;
  }

  /** Without waiting for anything, where the WebSocket allows it. */
  abandon() {
    this.#isOver = true;
    if (this.#socket?.terminate) this.#socket.terminate();
    else this.#socket?.close();
  }
}

/** Timers by name: one of each, and none is left behind. */
class Timers {
  #handles = new Map();

  has(name) {
    return this.#handles.has(name);
  }

  set(name, milliseconds, action) {
    this.clear(name);
    if (milliseconds === Infinity) return;
    const fire = () => {
      this.#handles.delete(name);
      action();
    };
    this.#handles.set(name, setTimeout(fire, Math.min(milliseconds, TIMER_MAX)));
  }

  clear(name) {
    clearTimeout(this.#handles.get(name));
    this.#handles.delete(name);
  }

  clearAll() {
    for (const name of [...this.#handles.keys()]) this.clear(name);
  }
}

/**
 * Listens to what a browser knows of the network and of the page. It is a hint, never the truth:
 * `wake` when things may be better, `doubt` when they may be worse.
 *
 * @returns {() => void} ends it
 */
function listenToBrowser({ wake, doubt }) {
  const page = globalThis.document;
  const seen = () => page.visibilityState === "visible" && wake();
  const listeners = [
    [globalThis, "online", wake],
    [globalThis, "offline", doubt],
    [globalThis, "pageshow", wake],
    [page, "resume", wake],
    [page, "visibilitychange", seen],
  ].filter(([target]) => typeof target?.addEventListener === "function");
  for (const [target, name, handler] of listeners) target.addEventListener(name, handler);
  return () => {
    for (const [target, name, handler] of listeners) target.removeEventListener(name, handler);
  };
}

/** The options with the defaults for what is missing. */
function settle(options, defaults = DEFAULTS, path = "") {
  const settled = { ...defaults };
  for (const [key, value] of Object.entries(options)) {
    const name = path + key;
    if (!Object.hasOwn(defaults, key)) throw new TypeError(`there is no option ${name}`);
    if (value === undefined) continue;
    const standard = defaults[key];
    if (typeof standard === "object") {
      if (value === null || typeof value !== "object") {
        throw new TypeError(`the option ${name} must be an object`);
      }
      settled[key] = settle(value, standard, `${name}.`);
      continue;
    }
    const least = LEAST[name] ?? 0;
    if (typeof standard === "number" && !(typeof value === "number" && value >= least)) {
      throw new RangeError(`the option ${name} must be a number, ${least} or more`);
    }
    if (typeof standard === "function" && typeof value !== "function") {
      throw new TypeError(`the option ${name} must be a function`);
    }
    if (CHOICES[name] && !CHOICES[name].includes(value)) {
      throw new RangeError(`the option ${name} must be one of: ${CHOICES[name].join(", ")}`);
    }
    settled[key] = value;
  }
  return settled;
}

function webSocketUrl(address) {
  const url = new URL(address, globalThis.location?.href);
  url.protocol = { "http:": "ws:", "https:": "wss:" }[url.protocol] ?? url.protocol;
  url.hash = "";
  if (!/^wss?:$/.test(url.protocol)) throw new SyntaxError(`not a WebSocket URL: ${address}`);
  return url;
}

/** What the server would refuse for its form at every attempt is refused here, once. */
function checkCredentials({ token, username, password }) {
  const isFixed = token !== undefined && typeof token !== "function";
  const faults = {
    token: isFixed ? tokenFault(token) : undefined,
    username: username === undefined ? undefined : nameFault(username, USERNAME_MAX),
    password: password === undefined ? undefined : textFault(password, PASSWORD_MAX),
  };
  for (const [name, fault] of Object.entries(faults)) {
    if (fault) throw new RangeError(`the option ${name} ${fault}`);
  }
}

/** What is wrong with a text that must have 1 to `max` Unicode scalar values, if anything. */
function textFault(text, max, forbidden) {
  if (typeof text !== "string") return "must be a string";
  if (/\p{Surrogate}/u.test(text)) return "has half of a surrogate pair";
  if (forbidden?.test(text)) return "has a control character";
  const count = text.length > 2 * max ? Infinity : [...text].length;
  return count >= 1 && count <= max ? undefined : `must have 1 to ${max} characters`;
}

/** The same of the name of a room or a user: it must not be blank either. */
function nameFault(name, max) {
  const fault = textFault(name, max, /\p{Cc}/u);
  return fault ?? (/^\p{White_Space}*$/u.test(name) ? "is blank" : undefined);
}

function tokenFault(token) {
  if (typeof token !== "string" || token === "") return "is no string, or empty";
  return byteLength(token) > TOKEN_MAX ? `has more than ${TOKEN_MAX} bytes` : undefined;
}

function isPosition(value) {
  const { epoch, offset } = value ?? {};
  return !textFault(epoch, EPOCH_MAX) && Number.isSafeInteger(offset) && offset >= 0;
}

function byteLength(text) {
  return new TextEncoder().encode(text).length;
}

/** A rejected promise that is no uncaught error if nobody looks at it. */
function rejected(error) {
  const promise = Promise.reject(error);
  promise.catch(() => {});
  return promise;
}

/** The object in a text frame, or undefined. */
function parse(data) {
  try {
    const message = JSON.parse(data);
    return typeof message?.type === "string" ? message : undefined;
  } catch {
    return undefined;
  }
}

/** What a JWT says, unchecked; undefined if it is none. */
function claims(token) {
  try {
    const payload = atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"));
    const bytes = Uint8Array.from(payload, (character) => character.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}

/** 128 random bits in hexadecimal. */
function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
