// An echo server on Bun, whose WebSockets are uWebSockets.

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(Bun.argv[2]),
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

console.log(`listening on ws://127.0.0.1:${server.port}`);
