/** The server's requests, and nothing about what they mean. */

import { RequestError, StreamClient } from "../resumable_stream/client.js";
import { readEvents } from "../resumable_stream/event-stream.js";

export class Api {
  #urls;
  #client;

  /** `urls`: `chat`, `socket`, `chats` and `log`, without a slash at their end; `line`: what carries the chat. */
  constructor({ urls, csrfToken, line }) {
    this.#urls = urls;
    this.#client = new StreamClient({
      url: urls.chat,
      websocket: urls.socket,
      headers: { "X-CSRFToken": csrfToken },
      fetch: line.fetch,
      WebSocket: line.WebSocket,
      // Somebody is looking, and the server is their own.
      timing: { firstDelayMs: 400, longestDelayMs: 8_000 },
    });
    line.addEventListener("usable", () => this.#client.reconnect());
  }

  /** Starts an answer and follows it. */
  start(body, options) {
    return this.#client.start(body, options);
  }

  /** Follows a chat from a cursor, through all answers to come. */
  follow(chatId, cursor, options) {
    return this.#client.follow(chatId, { from: cursor, live: true, ...options });
  }

  /** Follows the running answer from its start to its end. */
  resume(chatId, options) {
    return this.#client.follow(chatId, options);
  }

  /** Reads a chat's newest messages: `{messages, generations, cursor, page}`; an unknown chat is empty. */
  async messages(chatId, signal) {
    try {
      return await this.#client.messages(chatId, { signal });
    } catch (error) {
      if (error.status === 404) return { messages: [], generations: [], cursor: 0, page: { truncated: false } };
      throw error;
    }
  }

  /** Reads the messages that come before one. */
  earlier(chatId, before, signal) {
    return this.#client.messages(chatId, { before, signal });
  }

  /** Stops an answer; resolves to false if none was running. */
  stop(chatId, generation) {
    return this.#client.stop(chatId, { generation });
  }

  async chats() {
    const response = await get(this.#urls.chats);
    return (await response.json()).chats;
  }

  /** Follows the raw records of a chat; `null` where there is no such chat. */
  async log(chatId, cursor, signal) {
    const headers = cursor === null ? {} : { "Last-Event-ID": String(cursor) };
    const response = await get(`${this.#urls.log}/${encodeURIComponent(chatId)}`, { headers, signal });
    return response.status === 204 ? null : readEvents(response, { signal });
  }
}

async function get(url, init) {
  const response = await fetch(url, { cache: "no-store", ...init });
  if (!response.ok) throw await RequestError.from(response);
  return response;
}
