// The chat of the page: one client, one room at a time. Whatever peers wrote becomes text by
// `textContent`, never markup.

import { RingwireClient } from "/client.js";

const ENDPOINT = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/chat`;
const TEXT_CHARACTERS_MAX = 1000;
const NAME_CHARACTERS_MAX = 50;
const COUNTER_FROM = 900;
const LINES_MAX = 2000;
const NOTICE_MILLISECONDS = 6000;
const GROUP_MILLISECONDS = 5 * 60 * 1000;
const NEAR_END_PIXELS = 48;
const TONES = 8;

/** What the server says in few words, and what a person can do about it. */
const ADVICE = new Map([
  ["Rate limit exceeded", "Rate limit exceeded: slow down"],
  ["Room unavailable", "The room is out of reach for now: what you say waits"],
  ["Not in room", "You are not in this room: join it again"],
  ["Too many rooms", "You are in too many rooms: leave one first"],
  ["Not authenticated", "This server wants to know who you are: please sign in."],
  ["Authentication failed", "This server wants to know who you are: please sign in."],
  ["Token expired", "Your token has expired: please sign in again."],
]);

const part = Object.fromEntries(
  [...document.querySelectorAll("[id]")].map((element) => [element.id, element]),
);
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

/** The client and the room that are shown; null at the start. */
let client = null;
let room = null;
/** The room to go to: another one than `room` until the server has let us in. */
let wanted = null;
let wasOpen = false;
/** When the next attempt to connect is made, if one is waited for. */
let retryAt = null;

// ---------------------------------------------------------------------------------------------
// Where to go: the address of the page and what the tab remembers.

function readAddress() {
  const hash = new URLSearchParams(location.hash.slice(1));
  const query = new URLSearchParams(location.search);
  const name = hash.get("room")?.trim() ?? "";
  const found = {
    room: nameFault(name) === "" ? name : null,
    token: hash.get("token") ?? query.get("token"),
  };
  if (found.token !== null) {
    // A secret in the address bar is soon in a screenshot or a bookmark.
    remember("token", found.token);
    query.delete("token");
    hash.delete("token");
    const search = query.size > 0 ? `?${query}` : "";
    history.replaceState(null, "", `${location.pathname}${search}#${hash}`);
  }
  return found;
}

function writeAddress(next) {
  const hash = new URLSearchParams({ room: next });
  if (location.hash !== `#${hash}`) history.pushState(null, "", `#${hash}`);
}

function recall(key) {
  return sessionStorage.getItem(`ringwire.${key}`) ?? "";
}

function remember(key, value) {
  if (value) sessionStorage.setItem(`ringwire.${key}`, value);
  else sessionStorage.removeItem(`ringwire.${key}`);
}

// ---------------------------------------------------------------------------------------------
// The way in and out.

async function enter(name, next, password) {
  disconnect();
  const token = recall("token");
  let mine;
  try {
    mine = makeClient({ username: name, ...(password && { password }), ...(token && { token }) });
  } catch (error) {
    showStart(error.message);
    return;
  }
  [client, wanted, wasOpen, retryAt] = [mine, next, false, null];
  listen(mine);
  part.join.disabled = true;
  showEntryNotice("");
  mine.connect();
  showLine();
  try {
    const joined = await mine.join(next);
    if (client !== mine) return;
    [part.start.hidden, part.chat.hidden] = [true, false];
    showRoom(next, joined);
  } catch (error) {
    if (client === mine) showStart(advice(error.message));
  }
}

function makeClient(credentials) {
  return new RingwireClient(ENDPOINT, {
    ...credentials,
    // The network of a person changes more often than it is overloaded.
    backoff: { base: 500, cap: 10_000 },
    heartbeat: { interval: 5000, timeout: 5000 },
    // `Date.now()` has no fractions of a millisecond.
    now: () => performance.timeOrigin + performance.now(),
  });
}

/** What is dropped with a room or a connection is not dropped in silence. */
function dropNews() {
  const count = client?.pending.length ?? 0;
  if (count === 0) return "";
  return `${count === 1 ? "1 message" : `${count} messages`} may not have been sent`;
}

function disconnect() {
  const mine = client;
  [client, room, wanted] = [null, null, null];
  mine?.close();
}

function showStart(why = "") {
  disconnect();
  remember("joined", "");
  [part.start.hidden, part.chat.hidden] = [false, true];
  part.join.disabled = false;
  document.title = "ringwire";
  showLine();
  showEntryNotice(why);
  const isAsked = !part["password-field"].hidden;
  (isAsked ? part.password : part.name.value ? part.room : part.name).focus();
}

function showEntryNotice(text) {
  part["entry-notice"].textContent = text;
  part["entry-notice"].hidden = text === "";
}

/** The server does not take us for who we say we are: ask again, for a secret too. */
function askWho(why) {
  part["password-field"].hidden = false;
  part["token-field"].hidden = false;
  remember("token", "");
  part.token.value = "";
  showStart(why);
}

function showRoom(next, { userCount }) {
  [room, wanted] = [next, next];
  emptyLog();
  remember("room", next);
  remember("joined", "yes");
  writeAddress(next);
  part["room-name"].textContent = next;
  part.log.setAttribute("aria-label", `Messages in ${next}`);
  showCount(userCount);
  addEvent(`You joined: ${hereNow(userCount)}`);
  showTitle();
  part.text.focus();
}

async function changeRoom(next) {
  if (next === wanted) return;
  const mine = client;
  wanted = next;
  // Join before leaving: who cannot get in stays where he is.
  try {
    const joined = await mine.join(next);
    if (client !== mine || room === next) return;
    if (wanted !== next) {
      mine.leave(next);
      return;
    }
    const news = dropNews();
    mine.leave(room);
    showRoom(next, joined);
    if (news) showNotice(news);
  } catch (error) {
    if (client !== mine || wanted !== next) return;
    wanted = room;
    writeAddress(room);
    showNotice(advice(error.message));
  }
}

// ---------------------------------------------------------------------------------------------
// What the client tells.

function listen(mine) {
  const on = (type, handler) =>
    mine.on(type, (detail) => {
      if (client === mine) handler(detail);
    });
  on("open", () => {
    [wasOpen, retryAt] = [true, null];
    showLine();
  });
  on("state", showLine);
  on("reconnecting", ({ delay }) => {
    retryAt = performance.now() + delay;
    if (!wasOpen) offerToken();
    showLine();
  });
  on("close", ({ code, reason }) => {
    if (code === 4001) askWho(advice(reason || "Authentication failed"));
    else showLine();
  });
  on("error", ({ kind, message }) => {
    if (kind !== "server") return;
    if (message === "Not authenticated") askWho(advice(message));
    else showNotice(advice(message));
  });
  on("recovered", showReturn);
  on("message", receive);
}

/** A browser hides from its pages why a server refused an upgrade, a wrong token for example. */
function offerToken() {
  part["token-field"].hidden = false;
  part.join.disabled = false;
  showEntryNotice("No connection yet: the server does not answer, or does not let you in.");
}

function receive(message) {
  if (room === null || message.roomId !== room) return;
  switch (message.type) {
    case "chat_message":
      showMessage(message);
      break;
    case "user_joined":
      addEvent(`Someone joined: ${hereNow(message.userCount)}`);
      break;
    case "user_left":
      addEvent(`Someone left: ${hereNow(message.userCount)}`);
      break;
  }
  if (message.userCount !== undefined) showCount(message.userCount);
}

function showReturn({ roomId, recovered }) {
  if (roomId !== room) return;
  if (recovered) addEvent("Back again: nothing was missed");
  else insertLine(make("div", "divider", "history starts anew: messages may be missing"));
}

function advice(reason) {
  return ADVICE.get(reason) ?? reason;
}

// ---------------------------------------------------------------------------------------------
// The line: connected, reconnecting, offline; and what waits for it.

function showLine() {
  part.line.hidden = client === null;
  const state = client === null ? "idle" : lineState();
  part.line.dataset.state = state;
  part.chat.dataset.state = state;
  if (client === null) return;
  const labels = {
    connected: "Connected",
    connecting: "Connecting…",
    reconnecting: "Reconnecting",
    offline: "Offline",
  };
  setText(part.state, labels[state]);
  part.retry.hidden = !["waiting", "closed"].includes(client.state);
  setText(part.detail, [lineNews(state), waitingNews()].filter(Boolean).join(" · "));
}

function lineState() {
  if (client.state === "open") return "connected";
  if (client.state === "closed" || !navigator.onLine) return "offline";
  return wasOpen ? "reconnecting" : "connecting";
}

function lineNews(state) {
  if (state === "connected" && client.latency !== undefined) {
    return `${client.latency < 10 ? client.latency.toFixed(1) : Math.round(client.latency)} ms`;
  }
  if (client.state === "waiting" && retryAt !== null) {
    const seconds = Math.ceil((retryAt - performance.now()) / 1000);
    return seconds > 0 ? `in ${seconds} s` : "now";
  }
  return "";
}

function waitingNews() {
  const count = client.pending.length;
  if (client.state === "open" || count === 0) return "";
  return `${count} waiting`;
}

// ---------------------------------------------------------------------------------------------
// The log. Confirmed messages stand in the order of the room; those on their way are below them.

/** Lines of what we said and the server has not confirmed, by message id. */
const own = new Map();
let unread = 0;

function showMessage({ id, username, text, timestamp }) {
  const mine = own.get(id);
  own.delete(id);
  const line = mine ?? messageLine(username, text);
  line.classList.remove("pending");
  showTime(line, timestamp);
  const firstPending = part.log.querySelector(":scope > .pending");
  // A line that is in its place is not moved: it would be read out again.
  if (!mine || line.nextElementSibling !== firstPending) insertLine(line);
  if (!mine) countUnread();
}

function say(text) {
  const [mine, line] = [client, messageLine(client.userId ?? recall("name"), text)];
  showTime(line, Date.now());
  line.classList.add("own", "pending");
  line.querySelector(".when").textContent = "waiting";
  part.log.append(line);
  group(line);
  prune();
  isAtEnd = true;
  const said = mine.say(room, text);
  if (said.id !== undefined) own.set(said.id, line);
  said.catch((error) => {
    own.delete(said.id);
    line.classList.replace("pending", "failed");
    line.querySelector(".when").textContent = "not sent";
    if (client === mine && line.isConnected) showNotice(advice(error.message));
  });
  showLine();
}

function messageLine(name, text) {
  const line = make("div", "message");
  const by = make("div", `by tone-${tone(name)}`, name);
  const bubble = make("div", "bubble");
  const when = make("time", "when");
  bubble.append(make("span", "text", text), when);
  line.append(by, bubble);
  return line;
}

function showTime(line, timestamp) {
  const [when, date] = [line.querySelector(".when"), new Date(timestamp)];
  if (Number.isNaN(date.getTime())) return;
  line.dataset.at = String(date.getTime());
  when.dateTime = date.toISOString();
  when.title = date.toLocaleString();
  when.textContent = clock.format(date);
}

/** Messages of one person in a row need the name but once. */
function group(line) {
  for (const each of [line, line.nextElementSibling]) {
    const last = each?.previousElementSibling;
    if (!each?.matches(".message")) continue;
    const follows =
      Boolean(last?.matches(".message")) &&
      last.classList.contains("own") === each.classList.contains("own") &&
      last.firstChild.textContent === each.firstChild.textContent &&
      Math.abs(each.dataset.at - last.dataset.at) < GROUP_MILLISECONDS;
    each.classList.toggle("follows", follows);
  }
}

function tone(name) {
  let sum = 0;
  for (const character of name) sum = (sum * 31 + character.codePointAt(0)) % 65_521;
  return sum % TONES;
}

/** Comings and goings in a row are one line: the last. */
function addEvent(text) {
  const firstPending = part.log.querySelector(":scope > .pending");
  const last = firstPending ? firstPending.previousElementSibling : part.log.lastElementChild;
  if (last?.matches(".event")) last.remove();
  insertLine(make("p", "event", text));
}

/** Puts a line below all that is confirmed. */
function insertLine(line) {
  part.log.insertBefore(line, part.log.querySelector(":scope > .pending"));
  group(line);
  prune();
}

function prune() {
  while (part.log.childElementCount > LINES_MAX) part.log.firstElementChild.remove();
}

function emptyLog() {
  part.log.replaceChildren();
  own.clear();
  unread = 0;
  setAtEnd(true);
  part.newer.hidden = true;
}

// Who reads the end goes on reading the end, and who reads above is not moved. The heights are
// those of the last layout: what came since does not count as scrolled away, and a burst of
// messages costs one layout.

let isAtEnd = true;
let seen = { height: 0, view: 0 };

function setAtEnd(value) {
  isAtEnd = value;
  // Above the end the browser itself keeps in place what is being read. On the way to the end it
  // must not any more, or a layout that comes before the scroll event leaves us on the way.
  part.scroller.classList.toggle("above", !isAtEnd);
}

function toEnd() {
  setAtEnd(true);
  noteSizes();
  part.scroller.scrollTop = seen.height;
}

function noteSizes() {
  seen = { height: part.scroller.scrollHeight, view: part.scroller.clientHeight };
}

function onScroll() {
  const { scrollTop, scrollHeight, clientHeight } = part.scroller;
  const height = Math.min(seen.height, scrollHeight);
  const view = Math.max(seen.view, clientHeight);
  setAtEnd(height - scrollTop - view < NEAR_END_PIXELS);
  markRead();
}

function onResize() {
  if (isAtEnd) toEnd();
  else noteSizes();
}

function countUnread() {
  if (isAtEnd && !document.hidden) return;
  unread += 1;
  showUnread();
}

function showUnread() {
  part.newer.hidden = unread === 0 || isAtEnd;
  setText(part.newer, unread === 1 ? "1 new message" : `${unread} new messages`);
  showTitle();
}

function showTitle() {
  document.title = `${unread > 0 ? `(${unread}) ` : ""}#${room} · ringwire`;
}

function markRead() {
  if (document.hidden || room === null || !isAtEnd || unread === 0) return;
  unread = 0;
  showUnread();
}

// ---------------------------------------------------------------------------------------------
// Small things.

function make(tag, className, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function hereNow(count) {
  return count === 1 ? "only you here now" : `${count} here now`;
}

function showCount(count) {
  part.count.textContent = `${count} here`;
}

/** The server counts Unicode scalar values; a string's `length` does not. */
function characters(text) {
  return [...text].length;
}

let noticeTimer;
function showNotice(text) {
  if (room === null && !part.start.hidden) {
    showEntryNotice(text);
    return;
  }
  clearTimeout(noticeTimer);
  part.notice.textContent = text;
  part.notice.hidden = false;
  noticeTimer = setTimeout(() => {
    part.notice.hidden = true;
  }, NOTICE_MILLISECONDS);
}

function showLength() {
  const length = characters(part.text.value);
  const isOver = length > TEXT_CHARACTERS_MAX;
  setText(part.counter, length < COUNTER_FROM ? "" : `${length} / ${TEXT_CHARACTERS_MAX}`);
  part.counter.classList.toggle("over", isOver);
  part.composer.querySelector(".send").disabled = isOver || part.text.value.trim() === "";
  growField();
}

/** For browsers without `field-sizing`. */
function growField() {
  if (CSS.supports("field-sizing", "content")) return;
  part.text.style.height = "auto";
  part.text.style.height = `${part.text.scrollHeight + 2}px`;
}

/** What is wrong with the name of a person or a room, wherever it comes from; "" if nothing. */
function nameFault(name) {
  if (name.trim() === "") return "Please fill in this field.";
  if (/\p{Cc}|\p{Surrogate}/u.test(name)) return "Please use visible characters only.";
  return characters(name) <= NAME_CHARACTERS_MAX ? "" : "At most 50 characters.";
}

function requireName(input) {
  input.setCustomValidity(nameFault(input.value.trim()));
  return input.reportValidity();
}

// ---------------------------------------------------------------------------------------------
// What a person does.

part.entry.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!requireName(part.name) || !requireName(part.room)) return;
  remember("name", part.name.value.trim());
  remember("token", part.token.value.trim());
  enter(part.name.value.trim(), part.room.value.trim(), part.password.value);
});

part.composer.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = part.text.value.trim();
  if (text === "" || characters(text) > TEXT_CHARACTERS_MAX || room === null) return;
  say(text);
  part.text.value = "";
  showLength();
  part.text.focus();
});

part.text.addEventListener("input", showLength);
part.text.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  part.composer.requestSubmit();
});

part.leave.addEventListener("click", () => {
  part.room.value = room;
  const news = dropNews();
  client.leave(room);
  showStart(news);
});

part.change.addEventListener("click", () => {
  part["next-room"].value = "";
  part.rooms.showModal();
});
part.stay.addEventListener("click", () => part.rooms.close());
part["change-form"].addEventListener("submit", (event) => {
  event.preventDefault();
  if (!requireName(part["next-room"])) return;
  part.rooms.close();
  changeRoom(part["next-room"].value.trim());
});

for (const input of [part.name, part.room, part["next-room"]]) {
  input.addEventListener("input", () => input.setCustomValidity(""));
}

window.addEventListener("popstate", () => {
  const next = readAddress().room;
  if (next === null) {
    // No room has such a name: the address says again where we are.
    const here = `#${new URLSearchParams({ room })}`;
    if (room !== null && location.hash !== "") history.replaceState(null, "", here);
    return;
  }
  if (room !== null) changeRoom(next);
  else part.room.value = next;
});

part.newer.addEventListener("click", () => {
  toEnd();
  part.text.focus();
});
part.scroller.addEventListener("scroll", onScroll, { passive: true });
document.addEventListener("visibilitychange", markRead);
// The log grows; the rest shrinks, as under the keyboard of a phone.
const sizes = new ResizeObserver(onResize);
for (const element of [part.log, part.scroller]) sizes.observe(element);

part.retry.addEventListener("click", () => client?.connect());

setInterval(showLine, 500);
for (const type of ["online", "offline"]) window.addEventListener(type, showLine);

const address = readAddress();
part.name.value = recall("name");
part.token.value = recall("token");
part.room.value = address.room ?? (recall("room") || "lobby");
showLength();
if (recall("joined") && !nameFault(part.name.value) && !nameFault(part.room.value)) {
  enter(part.name.value, part.room.value, "");
} else {
  (part.name.value ? part.room : part.name).focus();
}
