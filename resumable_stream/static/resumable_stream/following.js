/**
 * One stream, followed over whatever way gets through, and again from where it broke.
 *
 * The loop connects, takes messages until the connection ends, waits, and connects again from the cursor. Every chunk has
 * an id that is larger than the one before; what is not, came twice and is dropped. So it does not matter which way a
 * chunk comes, or how often a way breaks.
 */

import { ANSWER_ENDS, END, endOfRefusal } from "./ends.js";
import { NoWayError, RequestError } from "./errors.js";
import { Backoff } from "./ladder.js";

/** Chunks that may wait to be taken out of the iterator; then the connection is read no further. */
const MOST_WAITING = 500;
/** After so many connections in a row that brought nothing, another way is worth a try. */
const FRUITLESS = 3;

export class Following {
  /** The stream's id. */
  stream;
  /** Where who has taken the chunks so far goes on; null before the first one, unless it was given. */
  cursor;
  /** "connecting", "open", "waiting" (until `retryAt`) or "over". */
  state = "connecting";
  /** The way in use: "websocket", "sse", "poll", or null. */
  transport = null;
  /** When the next try begins, in milliseconds since the Unix epoch; 0 if none is waited for. */
  retryAt = 0;
  /** The generation, where the server has named it. */
  generation = null;
  /** How it ended, as soon as it is over. */
  end = null;
  /** Resolves as soon as the stream is open for the first time, or over. */
  opened;
  /** Resolves to how it ended: `{reason, cursor, generation?, error?, cause?, status?}`. Never rejects. */
  ended;

  /** Where the next connection goes on: beyond `cursor` while chunks wait to be taken. */
  #received;
  #live;
  #ways;
  #ladder;
  #backoff;
  #giveUpAfter;
  #listeners;
  /** Whether an answer is still to be started, or the start has brought no cursor yet. */
  #isToStart;
  #waiting = [];
  #isTaken = false;
  #wakeTaker = () => {};
  /** Lets the connection be read on, and ends the wait for the next one. */
  #goOn = () => {};
  #endPause = () => {};
  /** Whether the connection ended only for another one to begin. */
  #isToSwitch = false;
  #resolveOpened;
  #resolveEnded;
  #closing = new AbortController();
  /** Chunks without an id that were given out, and those of this connection: they come before anything of the log. */
  #loose = 0;
  #looseHere = 0;
  #hadCursor = false;
  #fruitless = new Map();

  /** Made by `StreamClient`. `ways` maps a name to a function that connects, see `ways.js`. */
  constructor({ stream, from = null, live = false, isToStart = false, ways, ladder, timing, signal, ...listeners }) {
    this.stream = stream;
    this.cursor = this.#received = from;
    this.#live = live;
    this.#isToStart = isToStart;
    this.#ways = ways;
    this.#ladder = ladder;
    this.#giveUpAfter = timing.giveUpAfter;
    this.#backoff = new Backoff(timing);
    this.#listeners = listeners;
    this.opened = new Promise((resolve) => (this.#resolveOpened = resolve));
    this.ended = new Promise((resolve) => (this.#resolveEnded = resolve));
    if (signal?.aborted) return this.close();
    signal?.addEventListener("abort", () => this.close(), { signal: this.#closing.signal });
    // Not before whoever made it can listen.
    queueMicrotask(() => this.#run());
  }

  /** Leaves the stream; the answer goes on being written. */
  close() {
    this.#finish({ reason: END.CLOSED });
  }

  /** Tries at once instead of after the rest of the delay: the network may be back. */
  reconnect() {
    this.#endPause();
  }

  /** Yields `{id, chunk}` until the stream is over; leaving the loop leaves the stream. */
  async *[Symbol.asyncIterator]() {
    if (this.#isTaken || this.#listeners.onChunk) throw new Error("The chunks are taken by somebody else already.");
    this.#isTaken = true;
    try {
      for (;;) {
        while (this.#waiting.length) {
          const event = this.#waiting.shift();
          this.cursor = this.#waiting.length ? (event.id ?? this.cursor) : this.#received;
          yield event;
          if (this.#waiting.length < MOST_WAITING) this.#goOn();
        }
        if (this.state === "over") return;
        await new Promise((resolve) => (this.#wakeTaker = resolve));
      }
    } finally {
      this.close();
    }
  }

  async #run() {
    while (this.state !== "over") {
      this.#change("connecting");
      let leastMs = 0;
      try {
        await this.#connect();
      } catch (error) {
        if (error instanceof RequestError && !error.isPassing) return this.#finish(endOfRefusal(error));
        leastMs = error.retryAfterMs ?? 0;
      }
      if (this.state === "over") return;
      if (this.#isToSwitch) continue;
      if (this.#backoff.tries + 1 >= this.#giveUpAfter) return this.#finish({ reason: END.GAVE_UP });
      await this.#pause(this.#backoff.next(leastMs));
    }
  }

  /** Takes the first way that gets through, to the end of that connection. */
  async #connect() {
    this.#isToSwitch = false;
    const failures = new Map();
    const names = this.#isToStart ? ["start", ...this.#ladder.names] : this.#ladder.names;
    for (const name of names) {
      try {
        return await this.#take(name, failures);
      } catch (error) {
        const isLast = name === names.at(-1);
        if (!(error instanceof NoWayError) || isLast || this.state === "over") throw error;
        failures.set(name, error);
      }
    }
  }

  async #take(name, failures) {
    const connection = new AbortController();
    const abort = () => connection.abort();
    this.#closing.signal.addEventListener("abort", abort);
    const stream = this.stream;
    const from = this.#received;
    const isEnough = () => this.#ladder.hasBetter(name);
    this.#looseHere = 0;
    this.#hadCursor = from !== null;
    let isFruitful = false;
    try {
      const messages = this.#ways[name]({ stream, from, live: this.#live, signal: connection.signal, isEnough });
      for await (const message of messages) {
        if (this.state === "over") return;
        if (message.type === "open") this.#getThrough(name, failures);
        isFruitful = this.#handle(message) || isFruitful;
        if (message.type === "end" && !(this.#live && ANSWER_ENDS.has(message.reason))) return;
        if (this.#waiting.length >= MOST_WAITING) await this.#untilTaken();
      }
    } finally {
      this.#closing.signal.removeEventListener("abort", abort);
      connection.abort();
      this.#judge(name, isFruitful);
    }
  }

  #getThrough(name, failures) {
    this.transport = name === "start" ? "sse" : name;
    this.#ladder.worked(name, failures);
    this.#change("open");
    this.#resolveOpened(this);
  }

  /** A way on which connections open, but bring nothing again and again, is none: something in between cuts them. */
  #judge(name, isFruitful) {
    const count = isFruitful || this.transport === null ? 0 : (this.#fruitless.get(name) ?? 0) + 1;
    this.#fruitless.set(name, count % FRUITLESS);
    if (count === FRUITLESS) this.#ladder.shun(name);
    this.transport = null;
  }

  /** Takes a message; returns whether it shows that the connection is worth something. */
  #handle(message) {
    switch (message.type) {
      case "chunk":
        return this.#takeChunk(message);
      case "caught_up":
        this.#advance(message.id);
        this.#tell("onCaughtUp", this);
        return this.#progress();
      case "cursor":
        this.#advance(message.id);
        return this.#progress();
      case "started":
        this.generation = message.generation;
        // From here on what was begun can be followed, and need not be asked for again.
        this.#advance(message.cursor);
        if (message.isDetached) this.#isToStart = !(this.#isToSwitch = true);
        this.#resolveOpened(this);
        return false;
      case "switch":
        this.#isToSwitch = true;
        return false;
      case "retry":
        this.#backoff.suggest(message.ms);
        return false;
      case "end":
        this.#takeEnd(message);
        return true;
      default:
        return false;
    }
  }

  #takeChunk({ id, chunk }) {
    if (id) {
      if (this.#received !== null && id <= this.#received) return false;
      this.#received = id;
      this.#isToStart = false;
    } else {
      // Rebuilt for who starts from nothing. A connection that starts there again brings it again.
      this.#looseHere += 1;
      if (!this.#hadCursor && this.#looseHere <= this.#loose) return false;
      if (!this.#hadCursor) this.#loose = this.#looseHere;
    }
    this.#give({ id: id || null, chunk });
    return this.#progress();
  }

  #takeEnd({ reason, id = null, generation = null, error, cause, reconnect = false }) {
    if (reconnect) return;
    // The start did not get through as a stream; what was started is over, and can only be had there.
    if (reason === END.NOTHING && this.#isToStart) return;
    this.#advance(id);
    this.#progress();
    const end = { reason, generation: generation ?? this.generation, ...(error ? { error } : {}), ...(cause ? { cause } : {}) };
    if (this.#live && ANSWER_ENDS.has(reason)) this.#tell("onEnd", { ...end, cursor: this.cursor });
    else this.#finish(end, this.#received);
  }

  #advance(id) {
    if (typeof id !== "number" || (this.#received !== null && id < this.#received)) return;
    this.#received = id;
    this.#isToStart = false;
    if (!this.#waiting.length) this.cursor = id;
  }

  #progress() {
    this.#backoff.reset();
    return true;
  }

  #give(event) {
    if (this.#listeners.onChunk) {
      this.cursor = this.#received;
      return this.#tell("onChunk", event, this);
    }
    this.#waiting.push(event);
    this.#wakeTaker();
  }

  #untilTaken() {
    return new Promise((resolve) => (this.#goOn = resolve));
  }

  #pause(ms) {
    this.#change("waiting", Date.now() + ms);
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#endPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Ends it. `cursor` is where to go on: who leaves has what was taken, who stays gets what waits. */
  #finish(end, cursor = this.cursor) {
    if (this.state === "over") return;
    const told = (this.end = { ...end, cursor });
    this.transport = null;
    this.#change("over");
    this.#closing.abort();
    this.#goOn();
    this.#endPause();
    this.#wakeTaker();
    this.#tell("onEnd", told);
    this.#resolveOpened(this);
    this.#resolveEnded(told);
  }

  #change(state, retryAt = 0) {
    if (this.state === "over") return;
    this.state = state;
    this.retryAt = retryAt;
    this.#tell("onChange", this);
  }

  /** What a listener throws is its own matter: it is reported as an uncaught error would be, and the stream goes on. */
  #tell(name, ...values) {
    try {
      this.#listeners[name]?.(...values);
    } catch (error) {
      (globalThis.reportError ?? console.error)(error);
    }
  }
}
