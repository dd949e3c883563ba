/**
 * The line to the server: whether it may be used now, when to try again, and what to tell people about it.
 *
 * States: `idle` nothing is open · `connecting` · `live` · `waiting` until the next try · `cut` by hand · `resting` in a
 * hidden tab. Every change is told by a `change` event.
 */

const FIRST_DELAY_MS = 400;
const LONGEST_DELAY_MS = 8_000;

/** Reason with which a cut aborts what is open. */
export const CUT = new Error("The connection was cut by hand.");

export class Line extends EventTarget {
  state = "idle";
  /** When `waiting` or `cut` ends, in milliseconds since the Unix epoch. */
  until = 0;
  #tries = 0;
  #open = new Set();
  #wake = () => {};

  constructor() {
    super();
    addEventListener("online", () => this.tryNow());
    document.addEventListener("visibilitychange", () => document.hidden || this.tryNow());
  }

  /** Registers a controller that a cut shall abort; returns the function that takes it off again. */
  attach(controller) {
    this.#open.add(controller);
    return () => this.#open.delete(controller);
  }

  /** Breaks everything that is open, and keeps it off for `ms`. */
  cut(ms) {
    this.#set("cut", Date.now() + ms);
    for (const controller of this.#open) controller.abort(CUT);
  }

  /** Resolves as soon as requests may be made. */
  async whenUsable(signal) {
    if (this.state === "cut") await this.#pause(this.until - Date.now(), signal, { canWake: false });
    signal.throwIfAborted();
    this.#set("connecting");
  }

  established() {
    this.#tries = 0;
    this.#set("live");
  }

  rest(state = "idle") {
    this.#set(state);
  }

  /** Waits before the next try: longer each time, by a random share, so that a restarted server is not overrun. */
  async backOff(signal) {
    const longest = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** this.#tries++);
    const delay = longest * (0.6 + 0.4 * Math.random());
    this.#set("waiting", Date.now() + delay);
    await this.#pause(delay, signal, { canWake: true });
  }

  /** Ends a wait early: the network is back, or somebody asks for it. */
  tryNow() {
    this.#wake();
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

  #set(state, until = 0) {
    this.state = state;
    this.until = until;
    this.dispatchEvent(new Event("change"));
  }
}
