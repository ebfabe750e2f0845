// The server as a process of its own, which a test kills and starts again on the same port.

import { spawn } from "node:child_process";
import { on, once } from "node:events";
import { readFileSync } from "node:fs";
import net from "node:net";

const START_MILLISECONDS = 20_000;

export class ServerProcess {
  #command;
  #child;

  /**
   * Listens for TLS if the command names a certificate, and in the clear if not.
   *
   * @param {string[]} command the program and its arguments
   * @param {number} port of 127.0.0.1
   */
  constructor(command, port) {
    const isSecure = command.includes("--tls-cert");
    const other = isSecure ? ["--listen", "127.0.0.1:0"] : [];
    this.#command = [...command, ...other, isSecure ? "--tls-listen" : "--listen", `127.0.0.1:${port}`];
    this.scheme = isSecure ? "https" : "http";
    this.socketScheme = isSecure ? "wss" : "ws";
  }

  /** Returns once it listens. */
  async start() {
    const [program, ...args] = this.#command;
    this.#child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
    let printed = "";
    const deadline = AbortSignal.timeout(START_MILLISECONDS);
    for await (const [part] of on(this.#child.stdout, "data", { signal: deadline })) {
      printed += part;
      if (printed.includes(`listening on ${this.socketScheme}://`)) break;
    }
    this.#child.stdout.resume();
  }

  async kill() {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  }
}

/** A port below those that the kernel gives to clients: one of them might take it meanwhile. */
export async function freePort() {
  const range = readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8");
  const end = Math.min(Number.parseInt(range, 10), 32_768);
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const candidate = 10_000 + Math.floor(Math.random() * (end - 10_000));
    const probe = net.createServer();
    const isFree = await new Promise((resolve) => {
      probe.once("error", () => resolve(false));
      probe.listen(candidate, "127.0.0.1", () => probe.close(() => resolve(true)));
    });
    if (isFree) return candidate;
  }
  throw new Error("no port is free");
}
