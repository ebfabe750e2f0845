// Two people chat on the page of a cluster, each on another node, in headless Chromium; then the
// nodes are killed, one after the other.
//
// Usage: node chromium_cluster.mjs PROGRAM [FLAG...]: the server's program, and flags for each node.
// Prints one JSON object: which checks passed, which failed and why. CHROMIUM names the browser's
// program, /usr/bin/chromium unless set.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import {
  WAIT_MILLISECONDS,
  agree,
  enterRoom,
  launch,
  open,
  say,
  sees,
  staysClean,
  texts,
} from "./chat_page.mjs";
import { ClusterProcess } from "./cluster_process.mjs";

/** Which node a page gets is up to nginx: reloads until it is the wanted one. */
const RELOADS_MAX = 30;
const LOOK_MILLISECONDS = 100;
const DIVIDER = "history starts anew: messages may be missing";

const [program, ...flags] = process.argv.slice(2);
const verdict = { client: "Chromium", passed: [], failed: {} };
const faults = [];
let cluster;
let browser;
try {
  cluster = await ClusterProcess.start(["2", "--bin", program, "--", ...flags]);
  browser = await launch();
  verdict.client = `Chromium ${browser.version()}`;
  await chat();
} finally {
  await browser?.close();
  await cluster?.stop();
}
console.log(JSON.stringify(verdict));

async function chat() {
  const { port } = cluster.facts.nginx;
  const [first, second] = cluster.facts.nodes;
  const ada = await open(browser, `http://127.0.0.1:${port}`, "Ada", faults);
  const grace = await open(browser, `http://127.0.0.1:${port}`, "Grace", faults);
  const both = [ada, grace];
  const checks = [
    ["two nodes", () => settles(ada, first, grace, second)],
    ["chat over both", () => chats(ada, grace)],
    ["the node of one is killed", () => survives(ada, grace, first)],
    ["the node of both is killed", () => moves(both, first, second)],
    ["a reload", () => reloads(ada, grace)],
    ["leave", () => leaves(ada, grace)],
    ["nothing foreign", () => staysClean(both, faults)],
  ];
  for (const [name, work] of checks) {
    try {
      await work();
      verdict.passed.push(name);
    } catch (error) {
      // What follows builds on it.
      const seen = await Promise.all(both.map((page) => page.locator("body").innerText()));
      verdict.failed[name] = [error.stack, ...faults, ...seen].join("\n---\n");
      return;
    }
  }
}

// --- The checks.

/** Each page is on its own node. */
async function settles(ada, first, grace, second) {
  await enterRoom(ada, "Ada", "lobby");
  await moveTo(ada, first, [1, 0]);
  await enterRoom(grace, "Grace", "lobby");
  await moveTo(grace, second, [1, 1]);
  for (const page of [ada, grace]) await page.getByText("2 here", { exact: true }).waitFor();
}

async function chats(ada, grace) {
  await say(ada, "Good morning, Grace");
  await sees(grace, "Good morning, Grace");
  await say(grace, "Good morning, Ada");
  await sees(ada, "Good morning, Ada");
  await Promise.all([burst(ada, "Ada"), burst(grace, "Grace")]);
  await sees(ada, "Grace 5 of 5");
  await sees(grace, "Ada 5 of 5");
  const all = await texts(ada);
  assert.equal(all.length, 12);
  await agree([ada, grace], all);
}

/** Ada's node is killed: she comes back on the other one. */
async function survives(ada, grace, node) {
  await cluster.order(`kill ${node.name}`);
  await say(grace, "are you still there?");
  await say(ada, "I think so");
  await sees(ada, "are you still there?");
  await sees(grace, "I think so");
  for (const page of [ada, grace]) {
    await page.getByText("Connected", { exact: true }).waitFor();
    await page.getByText("2 here", { exact: true }).waitFor();
    assert.equal(await page.getByText(DIVIDER).count(), 0);
  }
  await ada.getByText("Back again: nothing was missed").waitFor();
  const all = await texts(grace);
  assert.equal(all.length, 14);
  await agree([ada, grace], all);
}

/** Both are on a node that is killed; what they said is known by the other one. */
async function moves(both, first, second) {
  const [ada, grace] = both;
  await cluster.order(`start ${first.name}`);
  const before = await texts(ada);
  await say(ada, "here we are");
  await sees(grace, "here we are");
  await cluster.order(`kill ${second.name}`);
  await say(grace, "and here");
  await sees(ada, "and here");
  for (const page of both) {
    await page.getByText("2 here", { exact: true }).waitFor();
    assert.equal(await page.getByText(DIVIDER).count(), 0);
  }
  await agree(both, [...before, "here we are", "and here"]);
  await cluster.order(`start ${second.name}`);
}

async function reloads(ada, grace) {
  await ada.reload();
  for (const page of [ada, grace]) await page.getByText("2 here", { exact: true }).waitFor();
  await say(ada, "I am back");
  await sees(grace, "I am back");
}

async function leaves(ada, grace) {
  await ada.getByRole("button", { name: "Leave" }).click();
  await grace.getByText("1 here", { exact: true }).waitFor();
}

async function burst(page, name) {
  for (let number = 1; number <= 5; number += 1) await say(page, `${name} ${number} of 5`);
}

/** Reloads a page until it is on a node, when so many connections are on the nodes. */
async function moveTo(page, node, expected) {
  for (let reload = 0; reload < RELOADS_MAX; reload += 1) {
    const total = expected.reduce((sum, count) => sum + count, 0);
    const counts = await connections(total);
    if (String(counts) === String(expected)) return;
    await page.reload();
    await page.getByText("Connected", { exact: true }).waitFor();
  }
  assert.fail(`not on ${node.name} after ${RELOADS_MAX} reloads`);
}

/** The connections of each node, once there are so many in all. */
async function connections(total) {
  const deadline = performance.now() + WAIT_MILLISECONDS;
  for (;;) {
    const { nodes } = cluster.facts;
    const counts = await Promise.all(nodes.map((node) => cluster.figure(node, "connections")));
    if (counts.reduce((sum, count) => sum + count, 0) === total) return counts;
    assert.ok(performance.now() < deadline, `${counts} connections, not ${total}`);
    await sleep(LOOK_MILLISECONDS);
  }
}
