// A cluster on this host, run by scripts/cluster as a process of its own.

import { spawn } from "node:child_process";
import { once } from "node:events";
import readline from "node:readline";
import { fileURLToPath } from "node:url";

const SCRIPT = fileURLToPath(new URL("../../scripts/cluster", import.meta.url));

export class ClusterProcess {
  #child;
  #lines;

  /**
   * Returns when all is up.
   *
   * @param {string[]} words of scripts/cluster: its own and, behind "--", those of each node
   */
  static async start(words) {
    const cluster = new ClusterProcess();
    const stdio = ["pipe", "pipe", "inherit"];
    cluster.#child = spawn(SCRIPT, ["--json", ...words], { stdio });
    cluster.#lines = readline.createInterface({ input: cluster.#child.stdout });
    /** What is where: see scripts/lib/cluster.py. */
    cluster.facts = await cluster.#read();
    return cluster;
  }

  /** Gives an order such as "kill node-1", and returns when it is carried out. */
  async order(words) {
    const answered = this.#read();
    this.#child.stdin.write(`${words}\n`);
    const answer = await answered;
    if (answer.error) throw new Error(`${words}: ${answer.error}`);
    return answer;
  }

  /** A figure of a node, from its metrics: the sum of all series of `ringwire_<name>`. */
  async figure({ admin }, name) {
    const text = await (await fetch(`${admin}/metrics`)).text();
    const series = [...text.matchAll(new RegExp(`^ringwire_${name}(?:{.*})? (\\S+)$`, "gm"))];
    if (series.length === 0) throw new Error(`there is no metric ringwire_${name}`);
    return series.reduce((sum, [, value]) => sum + Number(value), 0);
  }

  async stop() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGTERM");
    await ended;
  }

  async #read() {
    const ended = once(this.#lines, "close").then(() => {
      throw new Error("scripts/cluster has ended");
    });
    // Whoever comes second is not waited for.
    ended.catch(() => {});
    const [line] = await Promise.race([once(this.#lines, "line"), ended]);
    return JSON.parse(line);
  }
}
