// Types of ringwire.js. License: MIT OR Apache-2.0

export type State = "idle" | "connecting" | "authenticating" | "open" | "waiting" | "closed";

/** A place in the stream of a room: behind the message with this offset. */
export interface Position {
  readonly epoch: string;
  readonly offset: number;
}

export interface ChatMessage {
  readonly type: "chat_message";
  readonly roomId: string;
  readonly username: string;
  readonly text: string;
  /** Milliseconds since 1970. */
  readonly timestamp: number;
  readonly offset: number;
  /** What its sender called it. */
  readonly id?: string;
}

export interface RoomJoined extends Position {
  readonly type: "room_joined";
  readonly roomId: string;
  readonly userCount: number;
  readonly recovered: boolean;
}

export type ServerMessage =
  | ChatMessage
  | RoomJoined
  | {
      readonly type: "welcome";
      readonly message: string;
      readonly timestamp: number;
      readonly connectionId: string;
    }
  | { readonly type: "auth_success"; readonly userId: string }
  | {
      readonly type: "user_joined" | "user_left";
      readonly roomId: string;
      readonly userCount: number;
    }
  | { readonly type: "pong" }
  | { readonly type: "error"; readonly message: string };

export interface JoinResult extends Position {
  readonly roomId: string;
  readonly userCount: number;
  /** Whether everything after `since` was delivered. */
  readonly recovered: boolean;
}

export interface RoomView extends Position {
  readonly userCount: number;
}

export interface PendingMessage {
  readonly id: string;
  readonly roomId: string;
  readonly text: string;
}

export interface ClientEvents {
  /** Welcomed and authenticated. The rooms are joined again after this: see `recovered`. */
  open: { readonly userId: string | undefined };
  /** Any message of the server; a chat message once. */
  message: ServerMessage;
  /** A connection, or an attempt to make one, has ended. */
  close: { readonly code: number; readonly reason: string; readonly willReconnect: boolean };
  reconnecting: {
    /** 1 for the first attempt after a stable connection. */
    readonly attempt: number;
    /** Milliseconds until it is made. */
    readonly delay: number;
  };
  /**
   * A room was joined again, and all that was missed and could be had has been delivered; or the
   * server has told that it lost messages, without a break of the connection.
   */
  recovered: {
    readonly roomId: string;
    /** Whether everything missed was delivered. */
    readonly recovered: boolean;
    /** The server no longer knows the stream we were in. */
    readonly epochChanged: boolean;
    readonly offset: number;
    /** Messages missed: delivered since if recovered, lost if not; undefined if nobody knows. */
    readonly missed: number | undefined;
  };
  error: {
    readonly kind: "server" | "network" | "protocol" | "token";
    readonly message: string;
    readonly cause?: unknown;
  };
  state: { readonly state: State; readonly previous: State };
}

/** What is used of a WebSocket: those of browsers, of Node and of `ws` all have it. */
export interface WebSocketLike {
  addEventListener(name: string, handler: (event: any) => void): void;
  send(data: string): void;
  close(code?: number, reason?: string): void;
  terminate?(): void;
}

export interface ClientOptions {
  /** Default: the global one. */
  WebSocket?: new (url: string) => WebSocketLike;
  /** A function is called before every connect and before the token expires. */
  token?: string | (() => string | Promise<string>);
  /** In the URL as `?token=`, or in the first message. Default: "query". */
  tokenIn?: "query" | "message";
  /** Sent right after connecting, unless there is a token. */
  username?: string;
  password?: string;
  /** Milliseconds before its expiry at which a new token is fetched. Default: 60,000. */
  refresh?: number;
  /** The n-th delay is random between 0 and min(cap, base * 2^n) ms. */
  backoff?: {
    /** Default: 500. */
    base?: number;
    /** Default: 30,000. */
    cap?: number;
    /** Milliseconds a connection must last for the delays to start anew. Default: 10,000. */
    stable?: number;
  };
  /** Reconnects without a stable connection in between. Default: Infinity. */
  attempts?: number;
  queue?: {
    /** Messages not confirmed. Default: 1,000. */
    size?: number;
    /** What a message too many means. Default: "reject", itself. */
    policy?: "reject" | "drop-oldest" | "drop-newest";
  };
  /** What send() does while not open. Default: "throw". */
  sendOffline?: "throw" | "queue";
  heartbeat?: {
    /** Milliseconds between pings, the first once open; Infinity: none. Default: 15,000. */
    interval?: number;
    /** Milliseconds without any message after a ping until the line is dead. Default: 5,000. */
    timeout?: number;
  };
  /** Milliseconds from an attempt until open. Default: 10,000. */
  connectTimeout?: number;
  /** Messages said and not confirmed at one time. Default: 1, which keeps order in any case. */
  inFlight?: number;
  /**
   * Default: every code but 1000 and 4001, and 4001 too if `canRenew`: the connection had been open,
   * and there is a token function to ask for a new token.
   */
  reconnectOn?: (code: number, canRenew: boolean) => boolean;
  /** Default: Math.random. */
  random?: () => number;
  /** Milliseconds since 1970. Default: Date.now. */
  now?: () => number;
}

export class RingwireClient {
  constructor(url: string | URL, options?: ClientOptions);

  readonly state: State;
  /** The rooms joined so far: a snapshot. */
  readonly rooms: ReadonlyMap<string, RoomView>;
  /** Milliseconds from the last ping to its pong. */
  readonly latency: number | undefined;
  readonly userId: string | undefined;
  /** What was said and is not confirmed yet, oldest first: a snapshot. */
  readonly pending: readonly PendingMessage[];

  /** Returns a function that ends it. */
  on<Name extends keyof ClientEvents>(
    name: Name,
    handler: (event: ClientEvents[Name]) => void,
  ): () => void;

  /** Connects; while waiting for the next attempt, makes it now; otherwise does nothing. */
  connect(): void;

  /**
   * Ends the connection until connect() is called. What is pending is rejected; rooms that were
   * joined are remembered.
   */
  close(code?: number, reason?: string): void;

  /** Joins a room, and again after every reconnect until leave(). */
  join(roomId: string, options?: { since?: Position }): Promise<JoinResult>;

  leave(roomId: string): void;

  /** Resolves with the message as the server published it. `id` is missing if it was refused. */
  say(roomId: string, text: string): Promise<ChatMessage> & { readonly id?: string };

  /** Sends any other message, without any guarantee. */
  send(message: { type: string; [field: string]: unknown }): void;
}
