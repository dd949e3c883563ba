/**
 * A transport for `useChat` of the AI SDK 5, 6 and 7 that goes on from its cursor when its connection breaks.
 *
 *     const transport = new ResumableChatTransport({ api: "/api/chat" });
 *     const chat = useChat({ id: chatId, messages, transport, resume: true });
 *
 * What the log can heal, the chat never sees: it shows an error only where the server refuses, or the answer failed.
 * Without dependencies; the AI SDK itself is not imported.
 */

import { END } from "./ends.js";
import { NoWayError, RequestError } from "./errors.js";
import { Following } from "./following.js";
import { Ladder } from "./ladder.js";
import { TIMING, whenItMayHelp } from "./timing.js";
import { Requests, eventStream, randomKey, startedStream } from "./ways.js";

export { RequestError };

/** Chunks after which the answer is whole. */
const LAST_CHUNKS = new Set(["finish", "abort", "error"]);
/** The view's own hooks run before it answers a POST. */
const OPEN_MS = 30_000;

export class ResumableChatTransport {
  #options;
  #timing;
  /** The answers that are followed, by chat. */
  #followings = new Map();

  /** @param {import("./aisdk.js").ResumableChatTransportOptions} options see `aisdk.d.ts` */
  constructor({ timing, ...options } = {}) {
    const defaults = { api: "/api/chat", credentials: "same-origin", csrfCookie: "csrftoken", csrfHeader: "X-CSRFToken" };
    this.#options = { ...defaults, ...options };
    this.#timing = { ...TIMING, openMs: OPEN_MS, ...timing };
  }

  /**
   * Starts an answer; resolves to its chunks as soon as the server has begun it.
   *
   * The request is repeated under one idempotency key until the server has answered it, and so begins one answer at most.
   */
  async sendMessages({ abortSignal, ...call }) {
    // Whoever still looks for an answer that was running would find the one that begins now, and show it twice.
    for (const { following, isSearch } of this.#followed(call.chatId)) if (isSearch) following.close();
    const { chatId, messages, trigger, messageId } = call;
    const sent = { messages, trigger, messageId };
    const request = await this.#prepare(call, this.#options.prepareSendMessagesRequest, sent);
    const body = request.prepared.body ?? { ...request.body, id: chatId, ...sent };
    const requests = this.#requests(request.prepared.api ?? request.api, request);
    const key = randomKey();
    const start = (options) => startedStream({ ...options, requests, body, key, timing: this.#timing });
    const { following, answer } = this.#follow(call, { abortSignal, start });
    await following.opened;
    const problem = problemOf(following.end, abortSignal);
    if (problem !== null) throw problem;
    return chunksOf(following, answer, abortSignal);
  }

  /** Finds the answer that is being written; resolves to its chunks from its start on, or to null if there is none. */
  async reconnectToStream({ abortSignal, ...call }) {
    const { following, answer } = this.#follow(call, { abortSignal });
    await following.opened;
    const reason = following.end?.reason;
    // Closed by a message that was sent meanwhile.
    if (reason === END.NOTHING || (reason === END.CLOSED && !abortSignal?.aborted)) return null;
    const problem = problemOf(following.end, abortSignal);
    if (problem !== null) throw problem;
    return chunksOf(following, answer, abortSignal);
  }

  /**
   * Stops the answer on the server, wherever it is written; resolves to whether one was running.
   *
   * The chat's own `stop()` only leaves the answer. Throws a RequestError if the server refuses.
   */
  async stop(chatId) {
    const { generation } = this.#followed(chatId).at(-1)?.following ?? {};
    const request = await this.#prepare({ chatId });
    const path = `/${encodeURIComponent(chatId)}/stop`;
    const body = generation ? { generation } : {};
    const response = await this.#requests(request.api, request).send(path, { method: "POST", body });
    return response.status !== 204;
  }

  #followed(chatId) {
    return [...(this.#followings.get(chatId) ?? [])];
  }

  #follow(call, { abortSignal, start }) {
    const { chatId } = call;
    const answer = { isWhole: false };
    const ways = {
      start: (options) => answerOf(start(options), answer),
      sse: (options) => answerOf(this.#replay(call, options), answer),
    };
    const following = new Following({
      stream: chatId,
      isToStart: start !== undefined,
      ways,
      ladder: new Ladder(["sse"]),
      timing: this.#timing,
      signal: abortSignal,
      onChange: ({ state, retryAt }) => this.#options.onChange?.({ chatId, state, retryAt }),
    });
    this.#remember(chatId, following, start === undefined);
    return { following, answer };
  }

  /** Keeps what is followed until it has ended, and ends its waits when that may help. */
  #remember(chatId, following, isSearch) {
    const entry = { following, isSearch };
    const listening = new AbortController();
    const entries = this.#followings.get(chatId) ?? new Set();
    this.#followings.set(chatId, entries.add(entry));
    whenItMayHelp(() => following.reconnect(), listening.signal);
    following.opened.then(() => (entry.isSearch = false));
    following.ended.then(() => {
      listening.abort();
      entries.delete(entry);
      if (!entries.size && this.#followings.get(chatId) === entries) this.#followings.delete(chatId);
    });
  }

  async *#replay(call, { from, ...options }) {
    const requests = { send: (path, init) => this.#reconnect(call, from, path, init) };
    for await (const message of eventStream({ ...options, requests, from, timing: this.#timing })) {
      // Where the answer begins is no cursor for who has nothing of it yet: what it continues comes before that.
      if (from !== null || message.type !== "cursor") yield message;
    }
  }

  async #reconnect(call, from, path, init) {
    const request = await this.#prepare(call, this.#options.prepareReconnectToStreamRequest).catch(reportAndThrow);
    const headers = from === null ? {} : { "Last-Event-ID": String(from) };
    const { api } = request.prepared;
    // Only who has no cursor gets an answer again that has just ended, and only on this route.
    const route = from === null ? `/${encodeURIComponent(call.chatId)}/stream` : path;
    return this.#requests(api ?? request.api, request).send(api === undefined ? route : "", { ...init, headers });
  }

  /** Resolves what the options say of a request, and what the page makes of it. */
  async #prepare({ chatId, headers, body, metadata }, prepare, sent = {}) {
    const { api, ...options } = this.#options;
    const request = {
      api,
      id: chatId,
      requestMetadata: metadata,
      body: { ...(await valueOf(options.body)), ...body },
      headers: { ...named(await valueOf(options.headers)), ...named(headers) },
      credentials: await valueOf(options.credentials),
      ...sent,
    };
    return { ...request, prepared: (await prepare?.(request)) ?? {} };
  }

  #requests(url, { prepared, headers, credentials }) {
    return new Requests({
      url,
      fetch: this.#options.fetch,
      credentials: prepared.credentials ?? credentials,
      // The token is looked up for each request: it changes at login.
      headers: () => ({ ...this.#token(url), ...named(prepared.headers ?? headers) }),
    });
  }

  /** Django's CSRF token, for the page's own site only. */
  #token(url) {
    const { csrfCookie, csrfHeader } = this.#options;
    const { document, location } = globalThis;
    if (!csrfCookie || !document || new URL(url, location.href).origin !== location.origin) return {};
    const found = document.cookie.split("; ").find((pair) => pair.startsWith(`${csrfCookie}=`));
    return found === undefined ? {} : { [csrfHeader.toLowerCase()]: found.slice(csrfCookie.length + 1) };
  }
}

/** Passes on what comes of an answer, up to its end: after that, a connection that breaks is no loss. */
async function* answerOf(messages, answer) {
  try {
    for await (const message of messages) {
      const type = message.type === "chunk" ? message.chunk?.type : undefined;
      // The next answer of the chat, which another request has started.
      if (answer.isWhole && type === "start") break;
      answer.isWhole ||= LAST_CHUNKS.has(type);
      yield message;
    }
  } catch (error) {
    if (!answer.isWhole) throw withoutOtherWay(error);
  }
  if (answer.isWhole) yield { type: "end", reason: END.FINISHED };
}

/** There is no other way to try: what got stuck is tried again, and what is no event stream is an answer. */
function withoutOtherWay(error) {
  if (!(error instanceof NoWayError)) return error;
  return error.cause ?? new RequestError({ status: 200, message: "The server did not answer with an event stream." });
}

function chunksOf(following, answer, abortSignal) {
  const events = following[Symbol.asyncIterator]();
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = await events.next();
      const hasEnded = done || abortSignal?.aborted;
      const problem = hasEnded ? (problemOf(following.end, abortSignal) ?? lossOf(following.end, answer)) : null;
      if (problem !== null) controller.error(problem);
      else if (done) controller.close();
      else controller.enqueue(value.chunk);
    },
    cancel: () => following.close(),
  });
}

/** Why an answer cannot be shown (any further); null if it can. */
function problemOf(end, abortSignal) {
  if (abortSignal?.aborted) return new DOMException("The page has left the answer.", "AbortError");
  switch (end?.reason) {
    case END.FORBIDDEN:
    case END.REFUSED:
      return new RequestError({ ...end, message: end.error });
    case END.GAVE_UP:
      // The AI SDK knows a lost connection by such an error.
      return new TypeError("The network connection to the server is lost.");
    default:
      return null;
  }
}

/** The server knows no rest of an answer that is not whole: it is deleted, or belongs to who the visitor was before. */
function lossOf(end, { isWhole }) {
  if (isWhole || end?.reason !== END.NOTHING) return null;
  return new RequestError({ status: 204, message: "The server no longer has the rest of this answer." });
}

/** What the page's own functions throw may pass, as when one asks for a token: it is tried again, but not in silence. */
function reportAndThrow(error) {
  (globalThis.reportError ?? console.error)(error);
  throw error;
}

const valueOf = (option) => (typeof option === "function" ? option() : option);

/** Headers by their names in lower case, so that none is sent twice. */
const named = (headers) => Object.fromEntries(new Headers(withoutGaps(headers)));

/** Headers of `undefined`, which the AI SDK leaves out. */
function withoutGaps(headers = {}) {
  if (headers instanceof Headers || Array.isArray(headers)) return headers;
  return Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== undefined && value !== null));
}
