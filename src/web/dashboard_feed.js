// The way to the server: one overview per second over a WebSocket, and back again when it breaks.

const PROTOCOL = "ringwire.overview.v1";
const TOKEN_KEY = "ringwire.admin-token";
/** The server sends each second: five without a word mean that the line is dead. */
const SILENCE_MILLISECONDS = 5000;
const BACKOFF_BASE_MILLISECONDS = 1000;
const BACKOFF_CAP_MILLISECONDS = 15_000;

/**
 * @typedef {{name: "connecting"} | {name: "live"} | {name: "token", refused: boolean}
 *   | {name: "away", retryAt: number | null, reason: string}} FeedState
 * `retryAt` is a time of `performance.now()`, null while an attempt is made.
 */

export class Feed {
  /** @type {FeedState} */
  state = { name: "connecting" };
  #onOverview;
  #onState;
  #socket = null;
  /** Of the attempt that counts: what older ones bring is ignored. */
  #attempt = 0;
  #failures = 0;
  #heardAt = 0;
  #timer;

  /**
   * @param {(overview: object) => void} onOverview
   * @param {(state: FeedState) => void} onState
   */
  constructor(onOverview, onState) {
    this.#onOverview = onOverview;
    this.#onState = onState;
    setInterval(() => this.#checkSilence(), 1000);
    window.addEventListener("online", () => this.retryIfAway());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.retryIfAway();
    });
  }

  /** Ends the wait for the next attempt. */
  retryIfAway() {
    if (this.state.name === "away" && this.state.retryAt !== null) this.connect();
  }

  /** A token is sent as a header and as a subprotocol: both take only some characters. */
  setToken(token) {
    if (!/^[\x21-\x7e]+$/.test(token)) return false;
    sessionStorage.setItem(TOKEN_KEY, token);
    this.connect();
    return true;
  }

  async connect() {
    this.#abandon();
    const attempt = this.#attempt;
    if (this.state.name === "away") this.#change({ ...this.state, retryAt: null });
    const token = sessionStorage.getItem(TOKEN_KEY);
    // A browser hides from its pages why an upgrade was refused; this answer tells.
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const signal = AbortSignal.timeout(SILENCE_MILLISECONDS);
    let overview;
    try {
      const answer = await fetch("/api/overview", { headers, signal, cache: "no-store" });
      if (attempt !== this.#attempt) return;
      if (answer.status === 401) {
        sessionStorage.removeItem(TOKEN_KEY);
        this.#change({ name: "token", refused: Boolean(token) });
        return;
      }
      if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
      overview = await answer.json();
    } catch (error) {
      if (attempt !== this.#attempt) return;
      this.#lose(error.message.startsWith("the server") ? error.message : "no answer");
      return;
    }
    if (attempt !== this.#attempt) return;
    this.#open(token);
    this.#onOverview(overview);
  }

  #open(token) {
    const address = new URL("/api/feed", location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const protocols = token ? [PROTOCOL, `bearer.${base64url(token)}`] : [PROTOCOL];
    const socket = new WebSocket(address, protocols);
    this.#socket = socket;
    this.#heardAt = performance.now();
    socket.addEventListener("message", ({ data }) => {
      if (socket === this.#socket) this.#receive(data);
    });
    socket.addEventListener("close", ({ code, reason }) => {
      if (socket !== this.#socket) return;
      const said = reason ? `: ${reason}` : "";
      this.#lose(code === 1006 ? "the connection broke" : `the server closed (${code}${said})`);
    });
  }

  #receive(data) {
    this.#heardAt = performance.now();
    this.#failures = 0;
    this.#onOverview(JSON.parse(data));
    if (this.state.name !== "live") this.#change({ name: "live" });
  }

  #checkSilence() {
    if (this.#socket === null || performance.now() - this.#heardAt < SILENCE_MILLISECONDS) return;
    this.#lose(`silent for ${SILENCE_MILLISECONDS / 1000} s`);
  }

  /** Waits longer after each failure, and never as long as other pages do. */
  #lose(reason) {
    this.#abandon();
    const longest = BACKOFF_BASE_MILLISECONDS * 2 ** Math.min(this.#failures, 10);
    const delay = Math.min(BACKOFF_CAP_MILLISECONDS, longest) * (0.75 + Math.random() / 2);
    this.#failures += 1;
    this.#timer = setTimeout(() => this.connect(), delay);
    this.#change({ name: "away", retryAt: performance.now() + delay, reason });
  }

  #abandon() {
    clearTimeout(this.#timer);
    this.#attempt += 1;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #change(state) {
    this.state = state;
    this.#onState(state);
  }
}

/** RFC 4648 section 5, without padding: all of its characters may stand in a subprotocol. */
function base64url(text) {
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
