/**
 * The line to the server: what carries the chat's requests, so that it can be cut by hand, and what to tell people of it.
 *
 * States: `idle` nothing is open · `connecting` · `live` by a `transport` · `waiting` until the next try · `cut` by hand ·
 * `resting` in a hidden tab. Every change is told by a `change` event, the end of a cut by `usable`.
 */

const FIRST_DELAY_MS = 400;
const LONGEST_DELAY_MS = 8_000;

export class Line extends EventTarget {
  state = "idle";
  /** "websocket", "sse" or "poll" while it is live. */
  transport = null;
  /** When `waiting` or `cut` ends, in milliseconds since the Unix epoch. */
  until = 0;
  #tries = 0;
  #cutting = new AbortController();
  #sockets = new Set();
  #wake = () => {};

  constructor() {
    super();
    addEventListener("online", () => this.tryNow());
    document.addEventListener("visibilitychange", () => document.hidden || this.tryNow());
  }

  /** As the browser's own, but over this line. */
  fetch = async (url, { signal, ...init } = {}) => {
    if (this.#isCut) throw new TypeError("The line is cut.");
    const signals = [this.#cutting.signal, signal].filter(Boolean);
    return fetch(url, { ...init, signal: AbortSignal.any(signals) });
  };

  /** Likewise; undefined where the browser has none. */
  get WebSocket() {
    const line = this;
    if (globalThis.WebSocket === undefined) return undefined;
    return class extends WebSocket {
      constructor(...values) {
        if (line.#isCut) throw new TypeError("The line is cut.");
        super(...values);
        line.#sockets.add(this);
        this.addEventListener("close", () => line.#sockets.delete(this));
      }
    };
  }

  get #isCut() {
    return this.state === "cut";
  }

  /** Breaks everything that is open, and keeps it off for `ms`. */
  cut(ms) {
    this.#set("cut", { until: Date.now() + ms });
    this.#cutting.abort(new TypeError("The line was cut."));
    for (const socket of this.#sockets) socket.close();
    setTimeout(() => {
      this.#cutting = new AbortController();
      this.#change("connecting");
      this.dispatchEvent(new Event("usable"));
    }, ms);
  }

  /** Resolves as soon as requests may be made. */
  async whenUsable(signal) {
    if (this.#isCut) await this.#pause(this.until - Date.now(), signal, { canWake: false });
    signal.throwIfAborted();
    this.#set("connecting");
  }

  /** Shows the state of what is being followed; a listener of its changes. */
  show = ({ state, transport, retryAt }) => {
    if (state === "over") return;
    if (state === "open") this.#tries = 0;
    this.#set(state === "open" ? "live" : state, { until: retryAt, transport });
  };

  rest(state = "idle") {
    this.#set(state);
  }

  /** Waits before the next try: longer each time, by a random share, so that a restarted server is not overrun. */
  async backOff(signal) {
    const longest = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** this.#tries++);
    const delay = longest * (0.6 + 0.4 * Math.random());
    this.#set("waiting", { until: Date.now() + delay });
    await this.#pause(delay, signal, { canWake: true });
  }

  /** Ends a wait early: the network is back, or somebody asks for it. */
  tryNow() {
    this.#wake();
    if (!this.#isCut) this.dispatchEvent(new Event("usable"));
  }

  #pause(ms, signal, { canWake }) {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        this.#wake = () => {};
        resolve();
      };
      const timer = setTimeout(done, Math.max(0, ms));
      signal.addEventListener("abort", done);
      if (canWake) this.#wake = done;
    });
  }

  /** While the line is cut, that is all there is to say. */
  #set(state, more) {
    if (!this.#isCut) this.#change(state, more);
  }

  #change(state, { until = 0, transport = null } = {}) {
    Object.assign(this, { state, until, transport });
    this.dispatchEvent(new Event("change"));
  }
}
