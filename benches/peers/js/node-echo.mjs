// An echo server on Node and `ws`.

import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { WebSocketServer } from "ws";

const [port, cert, key] = process.argv.slice(2);
const listener = cert
  ? https.createServer({ cert: readFileSync(cert), key: readFileSync(key) })
  : http.createServer();
const server = new WebSocketServer({ server: listener, perMessageDeflate: false });

server.on("connection", (socket) => {
  socket.on("error", () => {}); // `ws` closes the connection; unheard, the error ends the process
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
});
listener.listen({ host: "127.0.0.1", port: Number(port), backlog: 4096 }, () =>
  console.log(`listening on ${cert ? "wss" : "ws"}://127.0.0.1:${port}`),
);
