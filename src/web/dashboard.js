// The dashboard: what the feed brings becomes text, lines and columns, once per frame at most.
// Names of rooms and lines of the log come from strangers: they become text, never markup.

import { ChartGroup, WINDOW_MILLISECONDS } from "/dashboard_charts.js";
import { element, fillTable, setText } from "/dashboard_dom.js";
import { Feed } from "/dashboard_feed.js";
import {
  NONE,
  byteRate,
  bytes,
  clock,
  count,
  duration,
  exact,
  exactBytes,
  exactRate,
  moment,
  percent,
  rate,
  span,
} from "/dashboard_format.js";
import { ShardStrips } from "/dashboard_shards.js";

/** Two overviews further apart than this have a gap between them. */
const GAP_MILLISECONDS = 2500;
/** More than the window holds at one per second; a bound should they come faster. */
const SAMPLES_MAX = 900;

const STATES = {
  serving: ["Serving", ""],
  overloaded: ["Overloaded", "newcomers get 503"],
  draining: ["Draining", "everybody is let go"],
  connecting: ["Connecting", ""],
  away: ["No feed", "figures are old"],
  token: ["Locked", "a token is needed"],
};

/** The four times that are measured, and the colours of their lines. */
const LATENCIES = [
  { figure: "handshake", name: "Handshake", colour: 0 },
  { figure: "turn", name: "Turn of a shard", colour: 1 },
  { figure: "fanOut", name: "Fan-out", colour: 2 },
  { figure: "outboundDelay", name: "Outbound delay", colour: 3 },
];

const FLOWS = [
  ["opened", "Connections opened", exactRate, exact],
  ["closed", "Connections closed", exactRate, exact],
  ["messagesReceived", "Messages in", exactRate, exact],
  ["messagesSent", "Messages out", exactRate, exact],
  ["bytesReceived", "Bytes in", byteRate, bytes],
  ["bytesSent", "Bytes out", byteRate, bytes],
  ["messagesDropped", "Messages dropped", exactRate, exact],
  ["rateLimited", "Rate-limited", exactRate, exact],
  ["errors", "Errors", exactRate, exact],
];

const part = Object.fromEntries(
  [...document.querySelectorAll("[id]")].map((node) => [node.id, node]),
);
const charts = new ChartGroup();
const strips = new ShardStrips(part.strips);
const feed = new Feed(take, showFeed);

/** The newest overview, and when it came in terms of `performance.now()`. */
let overview = null;
let arrivedAt = 0;
/** @type {import("/dashboard_charts.js").Sample[]} */
let samples = [];
let isFramePending = false;

// ---------------------------------------------------------------------------------------------
// What comes in.

/** Keeps what charts need; the rest of an overview lives until the next one. */
function take(next) {
  // Another program may name its figures otherwise; its own page knows them.
  if (overview !== null && next.version !== overview.version) {
    location.reload();
    return;
  }
  // A clock that was set back would draw lines backwards.
  samples = samples.filter(({ time }) => time < next.timestamp);
  const before = samples.at(-1);
  const isSame = overview?.pid === next.pid;
  const follows = isSame && next.timestamp - before?.time <= GAP_MILLISECONDS;
  samples.push(makeSample(next, follows));
  const oldest = next.timestamp - WINDOW_MILLISECONDS;
  samples = samples.filter(({ time }) => time >= oldest).slice(-SAMPLES_MAX);
  [overview, arrivedAt] = [next, performance.now()];
  requestDraw();
}

function makeSample(next, follows) {
  const p99 = ({ figure }) => [figure, next[figure].count > 0 ? next[figure].p99 : null];
  return {
    time: next.timestamp,
    follows,
    connections: next.connections,
    messagesReceived: next.rates.messagesReceived,
    messagesSent: next.rates.messagesSent,
    bytesReceived: next.rates.bytesReceived,
    bytesSent: next.rates.bytesSent,
    resident: next.memory.residentBytes,
    kernel: next.memory.kernelSocketBytes,
    ...Object.fromEntries(LATENCIES.map(p99)),
  };
}

/** A hidden tab gets no frames: whatever came meanwhile is drawn once, when it is shown. */
function requestDraw() {
  if (isFramePending) return;
  isFramePending = true;
  requestAnimationFrame(() => {
    isFramePending = false;
    draw();
  });
}

// ---------------------------------------------------------------------------------------------
// The feed: is it there, since when not, what next.

function showFeed({ name, refused }) {
  document.body.dataset.feed = name;
  part.entry.hidden = name !== "token";
  part.figures.hidden = name === "token";
  part.away.hidden = name !== "away";
  if (name === "token") {
    setText(part["entry-fault"], refused ? "The server does not take this token." : "");
    part.token.value = "";
    part.token.focus();
  }
  showState();
  showAway();
}

function showState() {
  const state = feed.state.name === "live" ? overview.state : feed.state.name;
  const [word, detail] = STATES[state] ?? [state, ""];
  part.state.dataset.state = state;
  setText(part.state, word);
  setText(part["state-detail"], detail);
  const figure = overview ? `${count(overview.connections)} connections · ` : "";
  const title = feed.state.name === "live" ? `${figure}ringwire` : `${word} · ringwire`;
  if (document.title !== title) document.title = title;
}

function showAway() {
  const { name, retryAt, reason } = feed.state;
  if (name !== "away") return;
  const last = overview ? `No figures since ${clock(overview.timestamp)}` : "No figures yet";
  setText(part["away-since"], `${last}: ${reason}.`);
  const seconds = retryAt && Math.ceil((retryAt - performance.now()) / 1000);
  setText(part["away-retry"], seconds > 0 ? `Reconnecting in ${seconds} s.` : "Reconnecting …");
  part.retry.disabled = !(seconds > 0);
}

// ---------------------------------------------------------------------------------------------
// Drawing.

function draw() {
  if (overview === null) return;
  showState();
  showTiles(overview);
  showLatencies(overview);
  showShards(overview.shards);
  showTables(overview);
  showLog(overview.recentErrors);
  drawCharts();
}

/** Time goes on without a feed: what is missing is seen as a gap at the right. */
function drawCharts() {
  const isLive = feed.state.name === "live";
  charts.draw(samples, overview.timestamp + (isLive ? 0 : performance.now() - arrivedAt));
}

/** A text for eyes, with the exact value for programs. */
function show(id, text, value) {
  setText(part[id], text);
  if (value !== undefined) part[id].value = value;
}

function showTiles({ rates, totals, memory, ...now }) {
  setText(part.identity, `version ${now.version} · process ${now.pid} · ${location.host}`);
  setText(part.uptime, `up ${span(now.uptimeSeconds)}`);
  const share = now.connectionsMax > 0 ? now.connections / now.connectionsMax : 0;
  show("connections", exact(now.connections), now.connections);
  show("connections-share", `${percent(share)} of ${exact(now.connectionsMax)}`, share);
  part.share.style.width = `${Math.min(1, share) * 100}%`;
  show("opened", rate(rates.opened), rates.opened);
  show("closed", rate(rates.closed), rates.closed);
  show("handshakes", exact(now.handshakesInProgress), now.handshakesInProgress);
  show("messages-in", rate(rates.messagesReceived), rates.messagesReceived);
  show("messages-out", rate(rates.messagesSent), rates.messagesSent);
  show("bytes-in", byteRate(rates.bytesReceived), rates.bytesReceived);
  show("bytes-out", byteRate(rates.bytesSent), rates.bytesSent);
  show("messages-in-total", count(totals.messagesReceived), totals.messagesReceived);
  show("messages-out-total", count(totals.messagesSent), totals.messagesSent);
  for (const figure of ["p99", "p50", "max"]) {
    show(`delay-${figure}`, measured(now.outboundDelay, figure), now.outboundDelay[figure]);
  }
  showMemory(memory, now.connections);
  showLosses(rates);
}

function showMemory(memory, connections) {
  const each = connections > 0 ? memory.residentBytesPerConnection : null;
  show("memory-each", bytes(each), each ?? 0);
  show("memory-resident", bytes(memory.residentBytes), memory.residentBytes);
  show("memory-kernel", bytes(memory.kernelSocketBytes), memory.kernelSocketBytes);
}

function showLosses(rates) {
  const all = rates.messagesDropped + rates.rateLimited + rates.errors;
  part.losses.classList.toggle("fault", all > 0);
  show("losses-rate", rate(all), all);
  show("dropped", rate(rates.messagesDropped), rates.messagesDropped);
  show("limited", rate(rates.rateLimited), rates.rateLimited);
  show("errors", rate(rates.errors), rates.errors);
}

function measured(percentiles, figure) {
  return percentiles.count > 0 ? duration(percentiles[figure]) : NONE;
}

function showLatencies(now) {
  const rows = LATENCIES.map(({ figure, name, colour }) => {
    const times = now[figure];
    const cell = (which) => ({ text: measured(times, which), value: times[which] });
    const head = { text: name, colour, below: `${count(times.count)} measured` };
    return [head, ...["p50", "p90", "p99", "p999", "max"].map(cell)];
  });
  fillTable(part.latency.tBodies[0], rows);
  for (const id of ["latency-span", "delay-span"]) {
    show(id, `${Math.round(now.latencySeconds)} s`, now.latencySeconds);
  }
}

function showShards(shards) {
  setText(part["shard-count"], `${shards.length}`);
  strips.draw(shards);
  if (!part["shard-details"].open) return;
  const rows = shards.map((shard) => [
    String(shard.number),
    { text: exact(shard.connections), value: shard.connections },
    { text: rate(shard.messagesReceived), value: shard.messagesReceived },
    { text: rate(shard.messagesSent), value: shard.messagesSent },
    { text: rate(shard.turns), value: shard.turns },
    { text: percent(shard.cpu), value: shard.cpu },
  ]);
  fillTable(part.shards.tBodies[0], rows, "No shards");
}

function showTables({ rates, totals, topRooms, closes, ...now }) {
  setText(part["room-count"], `of ${exact(now.rooms)} rooms, ${exact(now.roomMembers)} members`);
  const largest = topRooms.reduce((most, { members }) => Math.max(most, members), 1);
  const rooms = topRooms.map(({ roomId, members, historyMessages, offset }) => [
    roomId,
    { text: exact(members), value: members, share: members / largest },
    { text: exact(historyMessages), value: historyMessages },
    { text: exact(offset), value: offset },
  ]);
  fillTable(part.rooms.tBodies[0], rooms, "No room has members.");
  const all = closes.reduce((sum, close) => sum + close.count, 0);
  const ends = closes.map((close) => [
    close.reason.replaceAll("_", " "),
    { text: exact(close.count), value: close.count, share: close.count / all },
    { text: percent(close.count / all), value: close.count / all },
  ]);
  fillTable(part.closes.tBodies[0], ends, "No connection has ended.");
  const flows = FLOWS.map(([figure, name, perSecond, sum]) => [
    name,
    { text: perSecond(rates[figure]), value: rates[figure] },
    { text: sum(totals[figure]), value: totals[figure] },
  ]);
  fillTable(part.flows.tBodies[0], flows);
  show("log-lost", exact(now.logLinesDropped), now.logLinesDropped);
}

function showLog(lines) {
  part["log-empty"].hidden = lines.length > 0;
  while (part.log.children.length > lines.length) part.log.lastElementChild.remove();
  while (part.log.children.length < lines.length) {
    const names = ["time", "strong", "code", "bdi"];
    part.log.append(element("li", {}, names.map((name) => element(name))));
  }
  lines.forEach((line, at) => {
    const [time, level, target, message] = part.log.children[at].children;
    setText(time, moment(line.timestamp, overview.timestamp));
    setText(level, line.level);
    setText(target, line.target);
    setText(message, line.message);
    part.log.children[at].dataset.level = line.level;
  });
}

// ---------------------------------------------------------------------------------------------
// Start.

const INWARD = { name: "In", colour: 0 };
const OUTWARD = { name: "Out", colour: 1 };

charts.add(part["chart-connections"], {
  label: "Connections",
  series: [{ figure: "connections", name: "Established", colour: 0, isFilled: true }],
  format: count,
  exactly: exact,
  isWhole: true,
});
charts.add(part["chart-messages"], {
  label: "Messages per second",
  series: [
    { figure: "messagesReceived", ...INWARD },
    { figure: "messagesSent", ...OUTWARD },
  ],
  format: rate,
  exactly: exactRate,
});
charts.add(part["chart-bytes"], {
  label: "Bytes per second",
  series: [
    { figure: "bytesReceived", ...INWARD },
    { figure: "bytesSent", ...OUTWARD },
  ],
  format: byteRate,
  exactly: (value) => `${exactBytes(value)}/s`,
  unit: 1024,
});
charts.add(part["chart-memory"], {
  label: "Memory",
  series: [
    { figure: "resident", name: "Resident", colour: 2 },
    { figure: "kernel", name: "All TCP sockets of the host", colour: 3 },
  ],
  format: bytes,
  exactly: exactBytes,
  unit: 1024,
});
charts.add(part["chart-latency"], {
  label: "Latency, 99th percentile",
  series: LATENCIES,
  format: duration,
  exactly: duration,
  isLogarithmic: true,
  isLegendElsewhere: true,
});

part.retry.addEventListener("click", () => feed.retryIfAway());
part["shard-details"].addEventListener("toggle", requestDraw);
part.token.addEventListener("input", () => setText(part["entry-fault"], ""));
part.entry.addEventListener("submit", (event) => {
  event.preventDefault();
  if (feed.setToken(part.token.value.trim())) return;
  setText(part["entry-fault"], "A token consists of printable ASCII characters without spaces.");
});
setInterval(() => {
  if (feed.state.name !== "away" || document.hidden) return;
  showAway();
  if (overview !== null) drawCharts();
}, 1000);

feed.connect();
