/** The server's requests, and nothing about what they mean. */

import { EventParser } from "./sse.js";

/** The server comments on an idle stream every 15 s; after two and a half of those the connection is dead. */
const SILENCE_MS = 40_000;

export class HttpError extends Error {
  constructor(status, text, generation) {
    super(text);
    this.status = status;
    this.generation = generation;
  }

  /** Whether the same request may work later. */
  get isPassing() {
    return this.status >= 500 || this.status === 408 || this.status === 429;
  }
}

export class Api {
  /** `urls`: `chat`, `chats` and `log`, without a slash at their end. */
  constructor({ urls, csrfToken }) {
    this.urls = urls;
    this.csrfToken = csrfToken;
  }

  /** Starts an answer; resolves to `{generation, events}` once the server has taken it. */
  async start(body, signal) {
    const response = await this.#fetch(this.urls.chat, { method: "POST", body, signal });
    return { generation: response.headers.get("X-Generation-Id"), events: readEvents(response, signal) };
  }

  /** Follows a chat from a cursor, through all answers to come; `null` where there is no such chat. */
  async follow(chatId, cursor, signal) {
    const query = new URLSearchParams({ id: chatId, from: cursor, live: 1 });
    const response = await this.#fetch(`${this.urls.chat}/replay?${query}`, { signal });
    return response.status === 204 ? null : readEvents(response, signal);
  }

  /** Reads the running answer from its start to its end; `null` if none is running. */
  async resume(chatId, signal) {
    const response = await this.#fetch(`${this.urls.chat}/${encodeURIComponent(chatId)}/stream`, { signal });
    return response.status === 204 ? null : readEvents(response, signal);
  }

  /** Reads a chat as it stands: `{messages, generations, cursor}`; an unknown one is empty. */
  async messages(chatId, signal) {
    try {
      const response = await this.#fetch(`${this.urls.chat}/${encodeURIComponent(chatId)}/messages`, { signal });
      return await response.json();
    } catch (error) {
      if (error.status === 404) return { messages: [], generations: [], cursor: 0 };
      throw error;
    }
  }

  /** Stops an answer; resolves to false if none was running. */
  async stop(chatId, generation) {
    const body = generation ? { id: chatId, generation } : { id: chatId };
    const response = await this.#fetch(this.urls.chat, { method: "DELETE", body });
    return response.status !== 204;
  }

  async chats() {
    const response = await this.#fetch(this.urls.chats, {});
    return (await response.json()).chats;
  }

  /** Follows the raw records of a chat; `null` where there is no such chat. */
  async log(chatId, cursor, signal) {
    const headers = cursor === null ? {} : { "Last-Event-ID": String(cursor) };
    const response = await this.#fetch(`${this.urls.log}/${encodeURIComponent(chatId)}`, { headers, signal });
    return response.status === 204 ? null : readEvents(response, signal, Infinity);
  }

  async #fetch(url, { method = "GET", body, headers = {}, signal }) {
    const init = { method, headers: { ...headers }, signal, cache: "no-store" };
    if (method !== "GET") init.headers["X-CSRFToken"] = this.csrfToken;
    if (body !== undefined) {
      init.headers["Content-Type"] = "application/json";
      init.body = JSON.stringify(body);
    }
    const response = await fetch(url, init);
    if (response.ok) return response;
    const text = await errorText(response);
    throw new HttpError(response.status, text, response.headers.get("X-Generation-Id"));
  }
}

/** The chat's errors are plain text for people; anything else is a page that only a developer wants to see. */
async function errorText(response) {
  const isText = (response.headers.get("Content-Type") ?? "").startsWith("text/plain");
  const text = isText ? (await response.text()).trim() : "";
  return text || `The server answered ${response.status}.`;
}

/** Yields a response's events; throws if the connection breaks, or stays silent for longer than `silenceMs`. */
async function* readEvents(response, signal, silenceMs = SILENCE_MS) {
  const parser = new EventParser();
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  try {
    for (;;) {
      const { done, value } = await withinTime(reader.read(), silenceMs);
      if (done) return;
      signal?.throwIfAborted();
      yield* parser.feed(decoder.decode(value, { stream: true }));
    }
  } finally {
    // Frees the connection: browsers have six to one server, for all tabs together.
    reader.cancel().catch(() => {});
  }
}

function withinTime(promise, ms) {
  if (ms === Infinity) return promise;
  let timer;
  const silence = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("The server fell silent.")), ms);
  });
  return Promise.race([promise, silence]).finally(() => clearTimeout(timer));
}
