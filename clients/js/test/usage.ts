// Is only type-checked: what must compile, and what must not.

import { type ChatMessage, type JoinResult, RingwireClient, type State } from "ringwire";

export async function use(): Promise<string> {
  const client = new RingwireClient(new URL("wss://chat.example.org/"), {
    token: async () => "token",
    tokenIn: "message",
    backoff: { base: 10 },
    queue: { policy: "drop-oldest" },
    WebSocket: globalThis.WebSocket,
    reconnectOn: (code) => code !== 1000,
  });
  const off: () => void = client.on("message", (message) => {
    if (message.type === "chat_message") console.log(message.username, message.id?.length);
    // @ts-expect-error: a pong has no text
    if (message.type === "pong") console.log(message.text);
  });
  client.on("recovered", ({ roomId, missed }) => console.log(roomId, missed ?? "unknown"));
  client.on("error", ({ kind, message }) => console.log(kind === "server", message));
  // @ts-expect-error: there is no such event
  client.on("opened", () => {});
  // @ts-expect-error: there is no such option
  new RingwireClient("ws://localhost/", { heartBeat: {} });
  // @ts-expect-error: the state is the client's own
  client.state = "open";
  client.connect();
  const joined: JoinResult = await client.join("lobby", { since: { epoch: "0", offset: 1 } });
  const saying = client.say("lobby", "hello");
  const id: string | undefined = saying.id;
  const said: ChatMessage = await saying;
  client.send({ type: "custom", any: ["thing"] });
  const state: State = client.state;
  const users = client.rooms.get("lobby")?.userCount ?? joined.userCount;
  off();
  client.close(3000, "done");
  return `${said.offset} ${id} ${state} ${users + (client.latency ?? 0)} ${client.pending.length}`;
}
