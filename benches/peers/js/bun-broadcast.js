// A broadcast server on Bun: every message to every connection, by its built-in topics.

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(Bun.argv[2]),
  fetch(request, server) {
    if (!server.upgrade(request)) return new Response(null, { status: 426 });
  },
  websocket: {
    perMessageDeflate: false,
    idleTimeout: 960, // seconds, the longest that Bun allows
    open(socket) {
      socket.subscribe("all");
    },
    message(socket, message) {
      // The server's publish, unlike the socket's, reaches the sender too.
      server.publish("all", message);
    },
  },
});

console.log(`listening on ws://127.0.0.1:${server.port}`);
