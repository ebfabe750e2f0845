// A TCP proxy that breaks what goes through it, on command.
//
// As a program: node fault_proxy.mjs HOST:PORT LISTEN_PORT. It prints where it listens and reads
// commands, one a line:
//     cut                         resets all connections
//     cut up|down BYTES           ends the current ones and the next one after that many more bytes
//     hole on|off                 keeps connections open and forwards nothing
//     refuse on|off               resets new connections
//     delay MILLISECONDS          what every byte takes in each direction

import net from "node:net";
import readline from "node:readline";
import { pathToFileURL } from "node:url";

/** Listens on a port of 127.0.0.1; `up` is from the client to the target, `down` is back. */
export class FaultProxy {
  /** Milliseconds that every byte takes in each direction. */
  delay = 0;
  /** Whether new connections are reset. */
  refuse = false;
  /** Connections ended by cut() and cutAfter() so far. */
  cuts = 0;
  #target;
  #listener;
  #pairs = new Set();
  #isHole = false;
  /** For a connection that is yet to come: [direction, bytes, manner]. */
  #planned;

  /** @param {{host: string, port: number}} target */
  static async start(target, port = 0) {
    const proxy = new FaultProxy();
    proxy.#target = target;
    proxy.#listener = net.createServer((socket) => proxy.#accept(socket));
    await new Promise((resolve, reject) => {
      proxy.#listener.once("error", reject).listen(port, "127.0.0.1", resolve);
    });
    return proxy;
  }

  get port() {
    return this.#listener.address().port;
  }

  get connections() {
    return this.#pairs.size;
  }

  /** Ends all connections now, with RST ("reset") or FIN ("end"). */
  cut(manner = "reset") {
    this.#planned = undefined;
    for (const pair of [...this.#pairs]) pair.cut(manner);
  }

  /** Ends each connection after so many more bytes in a direction, or else the next one. */
  cutAfter(bytes, direction, manner = "reset") {
    if (this.#pairs.size === 0) this.#planned = [bytes, direction, manner];
    for (const pair of this.#pairs) pair.cutAfter(bytes, direction, manner);
  }

  /** While on, connections stay open and nothing is forwarded; afterwards all of it is. */
  blackHole(isOn) {
    this.#isHole = isOn;
    for (const pair of this.#pairs) pair.pause(isOn);
  }

  async stop() {
    this.cut();
    await new Promise((resolve) => this.#listener.close(resolve));
  }

  #accept(client) {
    if (this.refuse) {
      client.on("error", () => {});
      client.resetAndDestroy();
      return;
    }
    const pair = new Pair(client, net.connect(this.#target), {
      delay: () => this.delay,
      ended: (wasCut) => {
        this.#pairs.delete(pair);
        this.cuts += wasCut;
      },
    });
    this.#pairs.add(pair);
    pair.pause(this.#isHole);
    if (this.#planned) pair.cutAfter(...this.#planned);
    this.#planned = undefined;
  }
}

/** A connection through the proxy: two sockets. */
class Pair {
  #client;
  #target;
  #events;
  #timers = new Set();
  #isOver = false;
  #isPaused = false;
  /** The end that is planned. */
  #cut;

  constructor(client, target, events) {
    this.#client = client;
    this.#target = target;
    this.#events = events;
    this.#forward(client, target, "up");
    this.#forward(target, client, "down");
  }

  pause(isOn) {
    this.#isPaused = isOn;
    for (const socket of [this.#client, this.#target]) isOn ? socket.pause() : socket.resume();
  }

  cutAfter(bytes, direction, manner) {
    this.#cut = { bytes, direction, manner };
    if (bytes === 0) this.cut(manner);
  }

  cut(manner) {
    this.#end(manner, true);
  }

  #forward(from, to, direction) {
    let due = 0;
    from.setNoDelay();
    from.on("error", () => this.#end("reset", false));
    from.on("close", () => this.#end("end", false));
    from.on("data", (chunk) => {
      due = Math.max(due, Date.now() + this.#events.delay());
      const wait = due - Date.now();
      if (wait <= 0) this.#write(to, chunk, direction);
      else this.#later(wait, () => this.#write(to, chunk, direction));
    });
    from.on("end", () => this.#later(due - Date.now(), () => to.end()));
  }

  #write(to, chunk, direction) {
    if (this.#cut?.direction !== direction || this.#isOver) {
      to.write(chunk);
      return;
    }
    to.write(chunk.subarray(0, this.#cut.bytes));
    this.#cut.bytes -= chunk.length;
    if (this.#cut.bytes <= 0) this.cut(this.#cut.manner);
  }

  #later(milliseconds, action) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, milliseconds);
    this.#timers.add(timer);
  }

  #end(manner, wasCut) {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#timers.forEach(clearTimeout);
    for (const socket of [this.#client, this.#target]) {
      if (manner === "reset") socket.resetAndDestroy();
      // What was written before goes out, what comes now is lost.
      else socket.destroySoon();
    }
    this.#events.ended(wasCut);
  }
}

/** Does what a line of the program's input says. */
function obey(proxy, line) {
  const [command, word, count] = line.trim().split(/\s+/);
  if (command === "cut" && word === undefined) proxy.cut();
  else if (command === "cut") proxy.cutAfter(Number(count), word);
  else if (command === "hole") proxy.blackHole(word === "on");
  else if (command === "refuse") proxy.refuse = word === "on";
  else if (command === "delay") proxy.delay = Number(word);
  else console.error(`not understood: ${line}`);
}

const [program, target, port] = process.argv.slice(1);
if (port !== undefined && import.meta.url === pathToFileURL(program).href) {
  const { hostname, port: targetPort } = new URL(`tcp://${target}`);
  const proxy = await FaultProxy.start({ host: hostname, port: Number(targetPort) }, Number(port));
  console.log(`listening on 127.0.0.1:${proxy.port}`);
  readline.createInterface({ input: process.stdin }).on("line", (line) => obey(proxy, line));
}
