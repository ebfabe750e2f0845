// A broadcast server on Node and `ws`: every message to every connection, the sender too.

import { WebSocket, WebSocketServer } from "ws";

const port = Number(process.argv[2]);
const server = new WebSocketServer({
  host: "127.0.0.1",
  port,
  backlog: 4096,
  perMessageDeflate: false,
});

server.on("connection", (socket) => {
  socket.on("error", () => {}); // `ws` closes the connection; unheard, the error ends the process
  socket.on("message", (data, isBinary) => {
    for (const member of server.clients) {
      if (member.readyState === WebSocket.OPEN) member.send(data, { binary: isBinary });
    }
  });
});
server.on("listening", () => console.log(`listening on ws://127.0.0.1:${port}`));
