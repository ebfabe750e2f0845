// An echo server on Bun, whose WebSockets are uWebSockets.

const [port, cert, key] = Bun.argv.slice(2);

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(port),
  tls: cert && { cert: Bun.file(cert), key: Bun.file(key) },
  fetch(request, server) {
    if (!server.upgrade(request)) return new Response(null, { status: 426 });
  },
  websocket: {
    perMessageDeflate: false,
    idleTimeout: 960, // seconds, the longest that Bun allows
    message(socket, message) {
      socket.send(message);
    },
  },
});

console.log(`listening on ${cert ? "wss" : "ws"}://127.0.0.1:${server.port}`);
