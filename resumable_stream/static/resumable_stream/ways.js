/**
 * The ways to a stream over HTTP: an event stream, or one long poll after the other.
 *
 * Every way is an async generator of messages, in the words of the websocket dialect: `open` once it is known to get
 * through, `chunk`, `caught_up` and `end`, and besides `retry` (how long the server wants reconnects to wait) and `cursor`
 * (how far the reader has come without a chunk) and `switch` (it ends only for the next connection to begin). It throws
 * what keeps it from going on. One that just returns was torn.
 */

import { NoWayError, RequestError } from "./errors.js";
import { EventParser, SilenceError, readText, withinTime } from "./event-stream.js";

/**
 * Requests to a chat's routes; `url` has no slash at its end.
 *
 * @param {{url: string, fetch?: typeof fetch, headers?: object | Function, credentials?: RequestCredentials}} options
 */
export class Requests {
  #url;
  #fetch;
  #headers;
  #credentials;

  constructor({ url, fetch: fetch_, headers = {}, credentials = "same-origin" }) {
    this.#url = url.replace(/\/+$/, "");
    // Looked up with each request, and called as the browser wants it called.
    this.#fetch = fetch_ ?? ((...args) => globalThis.fetch(...args));
    this.#headers = headers;
    this.#credentials = credentials;
  }

  /** Resolves to the response, or throws a RequestError if it is not ok. */
  async send(path, { method = "GET", body, headers = {}, signal } = {}) {
    const own = typeof this.#headers === "function" ? await this.#headers() : this.#headers;
    const init = { method, signal, cache: "no-store", credentials: this.#credentials };
    init.headers = { ...headers, ...own };
    if (body !== undefined) {
      init.headers["Content-Type"] = "application/json";
      init.body = JSON.stringify(body);
    }
    const response = await this.#fetch(this.#url + path, init);
    // Without encryption Chromium makes the best of a head that was cut off: the status is then 2 or 20, for instance.
    if (response.status < 200) throw new TypeError("The connection broke in the head of the response.");
    if (!response.ok) throw await RequestError.from(response);
    return response;
  }
}

/** Follows a stream as server-sent events. */
export async function* eventStream({ requests, stream, from, live, timing, signal }) {
  // Without an Accept of its own: who asks for an event stream by name is taken for an EventSource, to which an error
  // status means the end. Here it says when to come back.
  const request = requests.send(`/replay?${query({ id: stream, from, live })}`, { signal });
  const response = await gettingThrough(request, timing.openMs);
  if (response.status === 204) return yield { type: "end", reason: "nothing" };
  const begin = response.headers.get("X-Generation-Cursor");
  // So that what ends while the connection is broken is not missed, though nothing of it has come yet.
  if (begin !== null) yield { type: "cursor", id: Number(begin) };
  yield* eventsOf(response, { live, timing, signal });
}

/** Makes an idempotency key. A browser has `randomUUID` only on pages that came encrypted. */
export function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Starts an answer, or attaches to the one that was started with the same key, and follows it. */
export async function* startedStream({ requests, body, key, timing, signal }) {
  const request = requests.send("", { method: "POST", body, headers: { "Idempotency-Key": key }, signal });
  const response = await gettingThrough(request, timing.openMs);
  // The server may leave the answer to other requests, and says from where it can be followed.
  const isDetached = response.status === 202;
  const cursor = response.headers.get("X-Generation-Cursor");
  const generation = response.headers.get("X-Generation-Id");
  yield { type: "started", generation, cursor: cursor === null ? null : Number(cursor), isDetached };
  if (!isDetached) yield* eventsOf(response, { live: false, timing, signal });
}

/** Follows a stream by asking again and again; returns after an answer for which `isEnough()` holds. */
export async function* longPolls({ requests, stream, from, live, timing, signal, isEnough }) {
  let cursor = from;
  for (let count = 0; ; count += 1) {
    const path = `/replay?${query({ id: stream, from: cursor, live, wait: timing.pollSeconds })}`;
    const patience = timing.pollSeconds * 1000 + timing.openMs;
    const response = await withinTime(requests.send(path, { signal }), patience);
    if (response.status === 204) return yield { type: "end", reason: "nothing" };
    const { events, cursor: next, end } = await withinTime(response.json(), patience);
    if (count === 0) yield { type: "open" };
    for (const { id = null, chunk } of events) yield { type: "chunk", id, chunk };
    yield { type: "cursor", id: next };
    if (end) yield { type: "end", ...end };
    if (isEnough()) return yield { type: "switch" };
    cursor = next;
  }
}

/** What comes on an event stream; its end is told by an `end` event, or by its last chunk. */
async function* eventsOf(response, { live, timing, signal }) {
  if (!(response.headers.get("Content-Type") ?? "").startsWith("text/event-stream") || !response.body) {
    throw new NoWayError("What came is no event stream.");
  }
  const parser = new EventParser();
  let isOpen = false;
  let last = null;
  try {
    for await (const text of readText(response, { signal, silenceMs: timing.silenceMs, firstMs: timing.openMs })) {
      if (!isOpen) yield { type: "open" };
      isOpen = true;
      const events = parser.feed(text);
      if (parser.retry !== null) yield { type: "retry", ms: parser.retry };
      parser.retry = null;
      for (const event of events) {
        last = messageOf(event);
        yield last;
        if (live && last.type === "chunk") yield* endAfter(last);
      }
    }
  } catch (error) {
    if (!isOpen && error instanceof SilenceError) throw held(error);
    throw error;
  }
  // Without such a chunk it was torn, or is of a format whose end only its server knows. Asking again tells.
  if (!live && last?.type === "chunk") yield* endAfter(last);
}

/** Yields an end if the chunk is the last one of an answer. */
function* endAfter({ id, chunk }) {
  const reason = endReason(chunk);
  if (reason === null) return;
  const error = reason === "failed" ? (chunk.errorText ?? chunk.error?.message ?? chunk.message) : undefined;
  yield { type: "end", id, reason, error };
}

function messageOf({ name, id, data }) {
  const cursor = id === "" ? null : Number(id);
  const value = parsed(data);
  if (name === "end") return { type: "end", id: cursor, reason: "finished", ...(isObject(value) ? value : {}) };
  return { type: "chunk", id: cursor, chunk: value };
}

/** Chunks are JSON, but for those of formats that send what a page shows as it is. */
function parsed(data) {
  try {
    return JSON.parse(data);
  } catch {
    return data;
  }
}

/** What a chunk says about the end of its answer; null where it says nothing. */
function endReason(chunk) {
  if (!isObject(chunk)) return null;
  // Only AG-UI's RUN_FINISHED has an outcome; for clients before version 1.0, it stands in the metadata.
  const outcome = chunk.outcome?.type ?? chunk.metadata?.resumable_stream?.outcome;
  if (chunk.type === "RUN_FINISHED" && outcome === "cancelled") return "stopped";
  // Its own only: every object has a "constructor", and no chunk ends an answer by that.
  return Object.hasOwn(END_REASONS, chunk.type) ? END_REASONS[chunk.type] : null;
}

const END_REASONS = {
  // AI SDK
  finish: "finished",
  abort: "stopped",
  error: "failed", // Anthropic's, too.
  // AG-UI, TanStack AI
  RUN_FINISHED: "finished",
  RUN_ERROR: "failed",
  // Anthropic
  message_stop: "finished",
};

async function gettingThrough(request, ms) {
  try {
    return await withinTime(request, ms);
  } catch (error) {
    throw error instanceof SilenceError ? held(error) : error;
  }
}

/** The server sends the first bytes of a stream at once. Where they do not come, something holds them back. */
function held(cause) {
  return new NoWayError("The event stream does not get through.", { cause });
}

function query({ id, from, live, wait }) {
  const values = new URLSearchParams({ id });
  if (from !== null) values.set("from", from);
  if (live) values.set("live", 1);
  if (wait !== undefined) values.set("wait", wait);
  return values;
}

function isObject(value) {
  return typeof value === "object" && value !== null;
}
