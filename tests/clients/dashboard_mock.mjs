// A server as the dashboard sees it, that is not there: pages, one overview a second, tokens.

import { createServer } from "node:http";
import { once } from "node:events";
import { WebSocketServer } from "ws";

const PROTOCOL = "ringwire.overview.v1";

/** Serves `pages`: `{ headers, assets }`, where an asset is `{ contentType, body }` by its path. */
export class MockServer {
  /** What `Overview`s are made with; checks change it. */
  plan;
  token = null;
  /** Subprotocols of every upgrade. */
  offers = [];
  #pages;
  #sockets;
  #timer;
  #server;
  #number = 0;

  constructor(pages, plan) {
    this.#pages = pages;
    this.plan = plan;
  }

  async start(port = 0) {
    this.#server = createServer((request, response) => this.#answer(request, response));
    this.#sockets = new WebSocketServer({ noServer: true, handleProtocols: () => PROTOCOL });
    this.#server.on("upgrade", (request, socket, head) => {
      const offered = request.headers["sec-websocket-protocol"].split(/, */);
      this.offers.push(offered);
      if (request.url !== "/api/feed" || offered[0] !== PROTOCOL || !this.#isAllowed(offered[1])) {
        socket.end("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
        return;
      }
      this.#sockets.handleUpgrade(request, socket, head, (client) => client.send(this.#next()));
    });
    this.#server.listen(port, "127.0.0.1");
    await once(this.#server, "listening");
    this.port = this.#server.address().port;
  }

  /** Sends at once, and each second from now on. */
  tick() {
    clearInterval(this.#timer);
    this.send();
    this.#timer = setInterval(() => this.send(), 1000);
  }

  send() {
    const text = this.#next();
    for (const client of this.#sockets.clients) client.send(text);
  }

  async stop() {
    clearInterval(this.#timer);
    if (!this.#server?.listening) return;
    const closed = once(this.#server, "close");
    this.#server.close();
    this.#server.closeAllConnections();
    for (const client of this.#sockets.clients) client.terminate();
    await closed;
  }

  #next() {
    this.#number += 1;
    return JSON.stringify(makeOverview({ ...this.plan, number: this.#number }));
  }

  #isAllowed(offer) {
    if (this.token === null) return true;
    return offer === `bearer.${Buffer.from(this.token).toString("base64url")}`;
  }

  #answer(request, response) {
    const asset = this.#pages.assets[request.url];
    if (asset) {
      response.writeHead(200, { ...this.#pages.headers, "Content-Type": asset.contentType });
      response.end(asset.body);
    } else if (request.url === "/api/overview") {
      const { authorization } = request.headers;
      const isAllowed = this.token === null || authorization === `Bearer ${this.token}`;
      response.writeHead(isAllowed ? 200 : 401, { "Content-Type": "application/json" });
      response.end(isAllowed ? this.#next() : `{"error":"a token is needed"}`);
    } else {
      response.writeHead(404).end();
    }
  }
}

/**
 * The overview of a server with so many shards and connections; texts as strangers might write
 * them. Same number, same figures.
 */
export function makeOverview({ number, shards, connections, hostile = "", timestamp, ...rest }) {
  const wave = (period, depth) => 1 + depth * Math.sin((2 * Math.PI * number) / period);
  const noise = (seed) => 1 + 0.06 * Math.sin(number * (seed + 1) * 12.9898);
  const received = connections * 2.1 * wave(60, 0.2) * noise(1);
  const sent = received * 7.5 * noise(2);
  const rates = {
    opened: 98.2 * noise(3),
    closed: 75.5 * noise(4),
    messagesReceived: received,
    messagesSent: sent,
    bytesReceived: received * 82,
    bytesSent: sent * 106,
    messagesDropped: number % 20 === 7 ? 12 : 0,
    rateLimited: number % 10 === 3 ? 3 : 0,
    errors: 0,
  };
  const totals = Object.fromEntries(
    Object.entries(rates).map(([name, perSecond]) => [name, Math.round(perSecond * 86_400)]),
  );
  const times = (median, seed) => {
    const p50 = median * wave(90, 0.15) * noise(seed);
    return { count: 12_345, p50, p90: 1.9 * p50, p99: 4.1 * p50, p999: 11 * p50, max: 42 * p50 };
  };
  return {
    version: "0.1.0",
    pid: 4242,
    timestamp: timestamp ?? Date.now(),
    uptimeSeconds: 273_600 + number,
    state: "serving",
    connections,
    connectionsMax: 1_000_000,
    handshakesInProgress: 12,
    totals,
    rates,
    latencySeconds: 10.001,
    handshake: times(0.00042, 5),
    turn: times(0.000021, 6),
    fanOut: times(0.0000085, 7),
    outboundDelay: times(0.00085, 8),
    shards: Array.from({ length: shards }, (_, at) => ({
      number: at,
      connections: Math.round((connections / shards) * (1 + 0.02 * Math.sin(at * 7))),
      messagesReceived: (received / shards) * (1 + 0.12 * Math.sin(at * 5 + number)),
      messagesSent: (sent / shards) * (1 + 0.1 * Math.sin(at * 3 + number)),
      turns: 4200 * noise(at),
      cpu: Math.min(1, 0.58 * (1 + 0.2 * Math.sin(at * 11 + number / 5))),
    })),
    memory: {
      residentBytes: connections * 3482 + 41e6,
      residentBytesPerConnection: connections > 0 ? (connections * 3482 + 41e6) / connections : 0,
      kernelSocketBytes: connections * 2210 * noise(9),
    },
    rooms: 3412,
    roomMembers: Math.round(connections * 0.93),
    topRooms: ["lobby", "general", "Küche 🍳", "weather", "a".repeat(50), "support", "games"].map(
      (roomId, at) => ({
        roomId: hostile || roomId,
        members: Math.round(connections / 20 / (at + 1)),
        historyMessages: Math.max(20, 1000 - 140 * at),
        offset: 4_812_345 >> at,
      }),
    ),
    closes: Object.entries({ normal: 5_123_456, peer_gone: 412_345, slow_reader: 3210 }).map(
      ([reason, count]) => ({ reason: hostile || reason, count }),
    ),
    recentErrors: ["WARN", "ERROR", "WARN"].map((level, at) => ({
      timestamp: (timestamp ?? Date.now()) - 61_000 * (at + 1),
      level,
      target: hostile || ["ringwire::shard::send", "ringwire::observe::log", "ringwire"][at],
      message:
        hostile ||
        [
          "slow reader closed connection=3:18231:7 queued_bytes=1048576 waited_ms=10000",
          "cannot write /var/log/ringwire/combined.log: No space left on device (os error 28)",
          "rate limit exceeded address=192.0.2.17 suppressed=412",
        ][at],
    })),
    logLinesDropped: 17,
    ...rest,
  };
}
