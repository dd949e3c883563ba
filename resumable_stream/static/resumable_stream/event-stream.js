/** Server-sent events from a `fetch` response, so that headers, AbortSignal and Node work alike. */

const LINE_END = /\r\n|\n|\r(?!$)/;

/**
 * Server-sent events out of any text, however it is cut.
 * https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
 */
export class EventParser {
  /** The delay before a reconnect that the server asked for last, in milliseconds, or null. */
  retry = null;
  #rest = "";
  #data = [];
  #name = "";
  #id = "";

  /** Returns the events that `text` completes, each `{name, id, data}`; comments and unfinished events give none. */
  feed(text) {
    const lines = (this.#rest + text).split(LINE_END);
    this.#rest = lines.pop();
    return lines.map((line) => this.#line(line)).filter((event) => event !== null);
  }

  #line(line) {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    if (colon === 0) return null;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#name = value;
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    else if (field === "retry" && /^[0-9]+$/.test(value)) this.retry = Number(value);
    return null;
  }

  #dispatch() {
    const event = { name: this.#name || "message", id: this.#id, data: this.#data.join("\n") };
    const isEmpty = this.#data.length === 0;
    this.#data = [];
    this.#name = "";
    return isEmpty ? null : event;
  }
}

/** Nothing came for too long: whatever is between here and there may have forgotten the connection. */
export class SilenceError extends Error {
  constructor(ms) {
    super(`Nothing came for ${ms / 1000} s.`);
    this.name = "SilenceError";
  }
}

/** Rejects with a SilenceError if `promise` takes longer than `ms`. */
export async function withinTime(promise, ms) {
  if (ms === Infinity) return promise;
  let timer;
  const silence = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new SilenceError(ms)), ms);
  });
  return Promise.race([promise, silence]).finally(() => clearTimeout(timer));
}

/**
 * Yields a response's text as it comes.
 *
 * Throws a SilenceError if nothing comes for `silenceMs` (for the first piece, `firstMs`), and whatever `fetch` makes of
 * a connection that breaks. Leaving the loop frees the connection: browsers have six to one server, for all tabs.
 */
export async function* readText(response, { signal, silenceMs = Infinity, firstMs = silenceMs } = {}) {
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  let limit = firstMs;
  try {
    for (;;) {
      const { done, value } = await withinTime(reader.read(), limit);
      if (done) return;
      signal?.throwIfAborted();
      limit = silenceMs;
      yield decoder.decode(value, { stream: true });
    }
  } finally {
    // Of a body that has broken there is nothing to cancel.
    reader.cancel().catch(() => {});
  }
}

/** Yields a response's events, each `{name, id, data}`; the options are those of `readText`. */
export async function* readEvents(response, options) {
  const parser = new EventParser();
  for await (const text of readText(response, options)) yield* parser.feed(text);
}
