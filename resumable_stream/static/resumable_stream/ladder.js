/** Which way to take: the best one that gets through, as far as anybody on this page knows. */

import { OccupiedError } from "./errors.js";

/**
 * A way that failed where another one worked is left alone for this long, and four times as long each time it fails again:
 * whoever tries it has nothing meanwhile.
 */
const SHUNNED_MS = 60_000;
const LONGEST_SHUNNED_MS = 3_600_000;

export class Ladder {
  #names;
  #shunnedUntil = new Map();
  /** How often in a row a way was shunned. */
  #shuns = new Map();

  /** @param {string[]} names of the ways, the best first */
  constructor(names) {
    this.#names = names;
  }

  /** The ways that are worth trying, in order; at least the last one. */
  get names() {
    const now = Date.now();
    const open = this.#names.filter((name) => now >= (this.#shunnedUntil.get(name) ?? 0));
    return open.length ? open : this.#names.slice(-1);
  }

  /** Whether a better way than `name` is worth trying. */
  hasBetter(name) {
    return this.#names.indexOf(this.names[0]) < this.#names.indexOf(name);
  }

  /** Takes note that a way got through after others, `failures` by name, had not. */
  worked(name, failures) {
    this.#shuns.delete(name);
    for (const [failed, error] of failures) if (!(error instanceof OccupiedError)) this.shun(failed);
  }

  /** Leaves a way alone for a while, if there is another one. */
  shun(name) {
    if (this.#names.length < 2) return;
    const count = this.#shuns.get(name) ?? 0;
    this.#shuns.set(name, count + 1);
    this.#shunnedUntil.set(name, Date.now() + Math.min(LONGEST_SHUNNED_MS, SHUNNED_MS * 4 ** count));
  }
}

/** Delays before reconnects: longer each time, and by chance, so that a restarted server is not overrun. */
export class Backoff {
  #first;
  #longest;
  #isFixed;
  #random;
  #tries = 0;

  constructor({ firstDelayMs, longestDelayMs, random }) {
    this.#isFixed = firstDelayMs !== undefined;
    this.#first = firstDelayMs ?? 1_000;
    this.#longest = longestDelayMs;
    this.#random = random;
  }

  /** How many tries in a row have brought nothing. */
  get tries() {
    return this.#tries;
  }

  /** Takes the server's `retry:` for the first delay, unless the page has chosen one. */
  suggest(ms) {
    if (!this.#isFixed) this.#first = ms;
  }

  reset() {
    this.#tries = 0;
  }

  /** The next delay in milliseconds; at least `leastMs`, which the server may have asked for. */
  next(leastMs = 0) {
    const delay = Math.min(this.#longest, this.#first * 2 ** this.#tries++);
    // Never sooner than asked for, and up to half as much later.
    return Math.max(delay, leastMs) * (1 + this.#random() / 2);
  }
}
