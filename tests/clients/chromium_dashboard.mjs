// The dashboard in headless Chromium.
//
// Usage: node chromium_dashboard.mjs feed PAGES.json: against a feed of this program, which can
// say anything; PAGES.json is what the server serves: `{ headers, assets }`.
// Or: node chromium_dashboard.mjs server ADMIN WEBSOCKET: against a server with these two
// listeners, whose figures must be the truth.
// Or: node chromium_dashboard.mjs token ADMIN TOKEN: against a server that asks for this token.
// Prints one JSON object: which checks passed, which failed and why. CHROMIUM names the browser's
// program, /usr/bin/chromium unless set. SCREENSHOTS names a folder for pictures.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import WebSocket from "ws";
import { MockServer, makeOverview } from "./dashboard_mock.mjs";
import {
  PHONE,
  figure,
  flaws,
  launch,
  lineOf,
  lookAt,
  open,
  resize,
  table,
} from "./dashboard_page.mjs";

const SECOND = 1000;
const MARKUP = `<img src=x onerror="window.ran = 1"><script>window.ran = 1</script>\u202Eevil\u0007`;

const [kind, ...rest] = process.argv.slice(2);
const verdict = { client: "Chromium", passed: [], failed: {} };
const faults = [];
const browser = await launch();
try {
  verdict.client = `Chromium ${browser.version()}`;
  await { feed: testFeed, server: testServer, token: testToken }[kind](...rest);
} finally {
  await browser.close();
}
console.log(JSON.stringify(verdict));

async function run(page, checks) {
  for (const [name, work] of checks) {
    try {
      await work();
      verdict.passed.push(name);
    } catch (error) {
      const seen = await page.locator("body").innerText();
      verdict.failed[name] = [error.stack, ...faults, `--- The page:\n${seen}`].join("\n");
      return;
    }
  }
}

async function staysClean(page) {
  assert.deepEqual(await page.evaluate(() => window.violations), []);
  assert.equal(await page.evaluate(() => window.ran), undefined);
  assert.deepEqual(faults, []);
}

// --- Against a feed of our own.

async function testFeed(pagesFile) {
  const pages = JSON.parse(readFileSync(pagesFile, "utf8"));
  const now = Date.now();
  const server = new MockServer(pages, { shards: 12, connections: 200_000, timestamp: now });
  await server.start();
  const page = await open(browser, `127.0.0.1:${server.port}`, faults);
  try {
    await run(page, [
      ["figures", () => showsFigures(page, server)],
      ["lines, gaps, and an end of memory", () => drawsLines(page, server)],
      ["looks", () => looksRight(page, server)],
      ["shards", () => showsShards(page, server)],
      ["readouts", () => readsOut(page)],
      ["strangers' texts", () => showsMarkup(page, server)],
      ["states", () => showsStates(page, server)],
      ["a hidden tab", () => waitsInBackground(page, server)],
      ["nothing foreign", () => staysClean(page)],
      ["the feed goes and returns", () => returns(page, server)],
      ["a silent feed", () => noticesSilence(page, server)],
      ["a token", () => restartsWithToken(page, server)],
    ]);
  } finally {
    await server.stop();
  }
}

/** Sends an overview of this plan, later than all before, and waits until it is drawn. */
async function tell(page, server, changes, milliseconds = SECOND) {
  Object.assign(server.plan, changes);
  for (const [name, value] of Object.entries(changes)) if (value === null) delete server.plan[name];
  server.plan.timestamp += milliseconds;
  server.plan.uptimeSeconds = (server.plan.uptimeSeconds ?? 100) + 1;
  server.send();
  await page.waitForFunction(isCurrent, server.plan.connections);
}

/** Sends an overview for each of so many seconds. */
function sendSeconds(server, seconds) {
  for (let second = 0; second < seconds; second += 1) {
    server.plan.timestamp += SECOND;
    server.send();
  }
}

function isCurrent(connections) {
  return Number(document.getElementById("connections").value) === connections;
}

async function showsFigures(page, server) {
  await page.locator(`#state[data-state="serving"]`).waitFor();
  await tell(page, server, { connections: 234_567 });
  const texts = (...ids) => Promise.all(ids.map((id) => page.locator(`#${id}`).innerText()));
  assert.deepEqual(await texts("connections", "connections-share"), [
    "234,567",
    "23.5\u202f% of 1,000,000",
  ]);
  assert.match((await texts("messages-in"))[0], /^\d{3}\u202fk\/s$/);
  assert.match((await texts("messages-out"))[0], /^\d\.\d\d\u202fM\/s$/);
  assert.match((await texts("memory-each"))[0], /^3\.\d\d\u202fKiB$/);
  assert.equal(await page.title(), "235\u202fk connections · ringwire");
  assert.deepEqual(await texts("latency-span", "delay-span"), ["10 s", "10 s"]);
  const latencies = await table(page, "latency");
  const sent = makeOverview({ ...server.plan, number: 3 });
  const names = latencies.map(([name]) => name);
  assert.deepEqual(names, ["Handshake", "Turn of a shard", "Fan-out", "Outbound delay"]);
  const { p50, p90, p99, p999, max } = sent.outboundDelay;
  assert.deepEqual(latencies[3][1], [p50, p90, p99, p999, max]);
  const [first] = await table(page, "rooms");
  assert.deepEqual(first, ["lobby", [Math.round(234_567 / 20), 1000, 4_812_345]]);
  const closes = Object.fromEntries(await table(page, "closes"));
  assert.equal(closes["peer gone"][0], 412_345);
  const flows = Object.fromEntries(await table(page, "flows"));
  assert.deepEqual(flows["Messages in"], [
    sent.rates.messagesReceived,
    sent.totals.messagesReceived,
  ]);
  assert.equal(await page.locator("#log li").count(), 3);
  assert.equal(await figure(page, "log-lost"), 17);
}

async function drawsLines(page, server) {
  sendSeconds(server, 20);
  await tell(page, server, { connections: 200_001 });
  const before = await lineOf(page, "connections");
  assert.equal(before.runs, 1);
  await tell(page, server, { connections: 200_002 }, 30 * SECOND);
  for (const name of ["connections", "messagesSent", "bytesReceived", "resident", "turn"]) {
    assert.equal((await lineOf(page, name)).runs, 2, `${name}: a gap is no line`);
  }
  // What was not measured is a gap, too.
  const none = { count: 0, p50: 0, p90: 0, p99: 0, p999: 0, max: 0 };
  await tell(page, server, { connections: 200_003, fanOut: none });
  await tell(page, server, { connections: 200_004, fanOut: null });
  assert.equal((await lineOf(page, "fanOut")).runs, 3);
  assert.equal((await lineOf(page, "turn")).runs, 2);
  // Another process counts anew.
  await tell(page, server, { connections: 200_005, pid: 4343 });
  assert.equal((await lineOf(page, "connections")).runs, 3);
  sendSeconds(server, 1000);
  await tell(page, server, { connections: 200_006 });
  assert.deepEqual(await lineOf(page, "connections"), { runs: 1, points: 301 });
  // A clock that was set back.
  await tell(page, server, { connections: 200_007 }, -100 * SECOND);
  assert.equal((await lineOf(page, "connections")).points, 201);
}

async function looksRight(page, server) {
  await tell(page, server, { connections: 200_000 });
  assert.deepEqual(await lookAt(page, "load"), []);
  const grounds = [];
  for (const colorScheme of ["dark", "light"]) {
    await page.emulateMedia({ colorScheme });
    const ground = () => getComputedStyle(document.body).backgroundColor;
    grounds.push(await page.evaluate(ground));
  }
  assert.notEqual(grounds[0], grounds[1]);
}

async function showsShards(page, server) {
  await page.getByText("Figures of each shard").click();
  for (const [shards, connections] of [[1, 0], [12, 1201], [64, 64_001]]) {
    await tell(page, server, { shards, connections });
    assert.equal(await page.locator("#strips svg").count(), 4);
    assert.equal(await page.locator("#strips rect").count(), 4 * shards);
    const rows = await table(page, "shards");
    assert.deepEqual(rows.map(([name]) => name), rows.map((_, at) => String(at)));
    assert.equal(rows.length, shards);
    assert.deepEqual(await lookAt(page, `shards-${shards}`), []);
  }
  await tell(page, server, { shards: 12, connections: 1200 });
  await page.getByText("Figures of each shard").click();
}

async function readsOut(page) {
  const chart = page.getByRole("slider", { name: "Messages per second" });
  const { width } = await chart.boundingBox();
  await chart.hover({ position: { x: width - 14, y: 60 } });
  const tip = page.locator("#chart-messages .tip");
  await tip.waitFor();
  const text = (await tip.innerText()).replace(/\s+/g, " ");
  assert.match(text, /^\d\d:\d\d:\d\d, \d s ago In [\d,.]+\/s Out [\d,.]+\/s$/);
  assert.equal(await page.locator(".cursor line").count(), 5, "all charts mark the moment");
  await page.mouse.move(0, 0);
  await tip.waitFor({ state: "hidden" });
  const shards = page.getByRole("slider", { name: "CPU of each shard" });
  await page.getByRole("slider", { name: "Messages out of each shard" }).focus();
  await page.keyboard.press("Tab");
  for (const key of ["ArrowRight", "ArrowRight", "ArrowLeft"]) await page.keyboard.press(key);
  assert.match(await shards.getAttribute("aria-valuetext"), /^shard 1: [\d.]+\u202f%$/);
  await page.getByText("Shard 1", { exact: true }).waitFor();
  await page.keyboard.press("End");
  assert.match(await shards.getAttribute("aria-valuetext"), /^shard 11: /);
  await page.keyboard.press("Escape");
  await page.getByText("Shard 11", { exact: true }).waitFor({ state: "hidden" });
  await chart.focus();
  await page.keyboard.press("Home");
  assert.match(await chart.getAttribute("aria-valuetext"), /^\d\d:\d\d:\d\d: In .*\/s, Out .*\/s$/);
  assert.ok(Number(await chart.getAttribute("aria-valuenow")) < -10);
  await page.keyboard.press("Escape");
}

async function showsMarkup(page, server) {
  await tell(page, server, { hostile: MARKUP, connections: 1201 });
  const expected = Array(7).fill(MARKUP);
  assert.deepEqual((await table(page, "rooms")).map(([name]) => name), expected);
  assert.equal((await table(page, "closes"))[0][0], MARKUP);
  assert.equal(await page.locator("#log bdi").first().textContent(), MARKUP);
  assert.equal(await page.locator("#log code").first().textContent(), MARKUP);
  assert.equal(await page.locator("main :is(img, script)").count(), 0);
  await tell(page, server, { hostile: "W".repeat(300), connections: 1202 });
  assert.deepEqual(await lookAt(page, "long-names"), []);
  await tell(page, server, { hostile: "", topRooms: [], closes: [], recentErrors: [] });
  await page.getByText("No room has members.").waitFor();
  await page.getByText("No connection has ended.").waitFor();
  await page.getByText("None.").waitFor();
}

async function showsStates(page, server) {
  for (const [state, word] of Object.entries({ overloaded: "Overloaded", draining: "Draining" })) {
    await tell(page, server, { state, connections: 1300 });
    await page.getByRole("status").getByText(word).waitFor();
    assert.deepEqual(await flaws(page), []);
  }
  await tell(page, server, { state: "serving" });
  await page.getByRole("status").getByText("Serving").waitFor();
}

/** A tab that is hidden gets no frames: here they are withheld. */
async function waitsInBackground(page, server) {
  await page.evaluate(() => {
    const original = window.requestAnimationFrame;
    window.withheld = [];
    window.requestAnimationFrame = (work) => window.withheld.push(work);
    const parse = JSON.parse;
    window.heard = 0;
    JSON.parse = (text) => {
      if (text.includes(`"uptimeSeconds":`)) window.heard += 1;
      return parse(text);
    };
    window.release = () => {
      window.requestAnimationFrame = original;
      for (const work of window.withheld) work(0);
    };
  });
  const before = (await lineOf(page, "connections")).points;
  sendSeconds(server, 50);
  await page.waitForFunction(() => window.heard === 50);
  assert.equal((await lineOf(page, "connections")).points, before);
  assert.equal(await page.evaluate(() => window.withheld.length), 1);
  await page.evaluate(() => window.release());
  await tell(page, server, { connections: 1401 });
  assert.equal((await lineOf(page, "connections")).points, before + 51);
}

async function returns(page, server) {
  const { port } = server;
  const { points } = await lineOf(page, "connections");
  await server.stop();
  await page.locator("#away").waitFor();
  await page.getByRole("status").getByText("No feed").waitFor();
  await page.getByText(/^No figures since \d\d:\d\d:\d\d: /).waitFor();
  await page.getByText(/Reconnecting in \d+ s\./).waitFor();
  const opacity = () => Number(getComputedStyle(document.getElementById("figures")).opacity);
  assert.equal(await page.evaluate(opacity), 0.5);
  assert.match(await page.title(), /^No feed/);
  await resize(page, PHONE);
  const sideways = (await flaws(page)).filter((flaw) => !flaw.startsWith("contrast"));
  assert.deepEqual(sideways, []);
  server.plan.timestamp += 20 * SECOND;
  server.plan.connections = 1500;
  await server.start(port);
  await page.locator(`body[data-feed="live"]`).waitFor();
  await page.waitForFunction(isCurrent, 1500);
  assert.equal(await page.evaluate(opacity), 1);
  assert.ok(await page.locator("#away").isHidden());
  const line = await lineOf(page, "connections");
  assert.equal(line.runs, 2);
  assert.ok(line.points > points / 2, "the history survives");
}

async function noticesSilence(page, server) {
  await page.locator(`body[data-feed="away"]`).waitFor();
  await page.getByText(/silent for 5 s/).waitFor();
  server.tick();
  await page.getByRole("button", { name: "Try now" }).click();
  await page.locator(`body[data-feed="live"]`).waitFor();
}

async function restartsWithToken(page, server) {
  const { port } = server;
  await server.stop();
  await page.locator("#away").waitFor();
  server.token = "geheim/+=~";
  await server.start(port);
  await asksForToken(page, server.token);
  const offer = `bearer.${Buffer.from(server.token).toString("base64url")}`;
  assert.deepEqual(server.offers.at(-1), ["ringwire.overview.v1", offer]);
}

async function asksForToken(page, token) {
  const [field, button] = [page.getByLabel("Token"), page.getByRole("button", { name: "Show" })];
  await field.waitFor();
  assert.ok(await page.locator("#figures").isHidden());
  assert.deepEqual(await lookAt(page, "token"), []);
  await field.fill("falsch");
  await button.click();
  await page.getByText("The server does not take this token.").waitFor();
  await field.fill("mit Abstand");
  await button.click();
  await page.getByText("printable ASCII characters").waitFor();
  await field.fill(token);
  await button.click();
  await page.locator(`body[data-feed="live"]`).waitFor();
  assert.ok(await field.isHidden());
  await page.reload();
  await page.locator(`body[data-feed="live"]`).waitFor();
}

// --- Against a real server.

async function testToken(admin, token) {
  const page = await open(browser, admin, faults);
  await run(page, [["a token", () => asksForToken(page, token)]]);
}

async function testServer(admin, websocket) {
  const page = await open(browser, admin, faults);
  const clients = [];
  const truth = { sent: 0, heard: 0 };
  try {
    await run(page, [
      ["an idle server", () => isIdle(page)],
      ["connections", () => showsConnections(page, websocket, clients)],
      ["messages", () => showsMessages(page, clients, truth)],
      ["rooms", () => showsRooms(page, websocket, clients, truth)],
      ["closes", () => showsCloses(page, clients)],
      ["looks", async () => assert.deepEqual(await lookAt(page, "server"), [])],
      ["nothing foreign", () => staysClean(page)],
    ]);
  } finally {
    for (const client of clients) client.terminate();
  }
}

async function isIdle(page) {
  const response = await fetch(page.url());
  const policy = response.headers.get("content-security-policy");
  assert.match(policy, /^default-src 'none'; script-src 'self';/);
  await page.locator(`body[data-feed="live"]`).waitFor();
  await page.locator(`#state[data-state="serving"]`).waitFor();
  assert.equal(await figure(page, "connections"), 0);
}

async function connect(url, clients, truth) {
  const client = new WebSocket(url);
  clients.push(client);
  if (truth) client.on("message", () => (truth.heard += 1));
  await once(client, "open");
  return client;
}

/** Waits until the page says so: figures come once a second. */
async function says(page, id, value) {
  const isSaid = ([id, value]) => Number(document.getElementById(id).value) === value;
  await page.waitForFunction(isSaid, [id, value]);
}

async function showsConnections(page, websocket, clients) {
  for (let number = 0; number < 12; number += 1) await connect(`ws://${websocket}/echo`, clients);
  await says(page, "connections", 12);
  await page.getByText("Figures of each shard").click();
  const isTold = () => document.querySelectorAll("#shards tbody tr").length > 0;
  await page.waitForFunction(isTold);
  const shards = await table(page, "shards");
  assert.equal(shards.length, 2);
  assert.equal(shards.reduce((sum, [, [connections]]) => sum + connections, 0), 12);
}

async function showsMessages(page, clients, truth) {
  for (const client of clients) client.on("message", () => (truth.heard += 1));
  for (let number = 0; number < 1000; number += 1) {
    clients[number % clients.length].send("x".repeat(100));
    truth.sent += 1;
  }
  await says(page, "messages-in-total", truth.sent);
  await says(page, "messages-out-total", truth.sent);
  assert.equal(truth.heard, truth.sent);
  const flows = Object.fromEntries(await table(page, "flows"));
  assert.equal(flows["Connections opened"][1], 12);
  assert.equal(flows["Messages dropped"][1], 0);
  assert.ok(flows["Bytes in"][1] >= truth.sent * 100);
  assert.ok(flows["Bytes out"][1] >= truth.sent * 100);
}

async function showsRooms(page, websocket, clients, truth) {
  const rooms = { [MARKUP.slice(0, 50)]: 3, quiet: 1 };
  for (const [roomId, members] of Object.entries(rooms)) {
    for (let number = 0; number < members; number += 1) {
      const client = await connect(`ws://${websocket}/chat`, clients, truth);
      client.send(JSON.stringify({ type: "join_room", roomId }));
      truth.sent += 1;
    }
  }
  await says(page, "connections", 16);
  await says(page, "messages-in-total", truth.sent);
  // Each is welcomed, and hears of itself and of those who come after it: 1 + 2 + 3, and 1.
  await says(page, "messages-out-total", 1000 + 4 + 6 + 1);
  assert.equal(truth.heard, 1000 + 4 + 6 + 1);
  await page.waitForFunction(() => document.querySelectorAll("#rooms tbody tr").length === 2);
  const found = (await table(page, "rooms")).map(([name, [members]]) => [name, members]);
  assert.deepEqual(found, Object.entries(rooms));
}

async function showsCloses(page, clients) {
  for (const client of clients.splice(0, 5)) client.close(1000);
  await says(page, "connections", 11);
  const isTold = () => {
    const counts = document.querySelectorAll("#closes td:nth-child(2) data");
    return [...counts].reduce((sum, { value }) => sum + Number(value), 0) === 5;
  };
  await page.waitForFunction(isTold);
  const flows = Object.fromEntries(await table(page, "flows"));
  assert.equal(flows["Connections closed"][1], 5);
}
