/**
 * Follows the streams of a django-resumable-stream server: over a websocket if there is one, else as server-sent events,
 * else by long polls; whatever breaks, it goes on from its cursor.
 *
 *     const client = new StreamClient({ url: "/api/chat", websocket: "/ws/chat" });
 *     for await (const { chunk } of client.follow(chatId)) show(chunk);
 *
 * Works in browsers and in Node from 20 on (which has no WebSocket before 22: pass one, or none). No dependencies.
 */

import { END } from "./ends.js";
import { RequestError } from "./errors.js";
import { Following } from "./following.js";
import { Ladder } from "./ladder.js";
import { SharedSocket } from "./socket.js";
import { TIMING, whenItMayHelp } from "./timing.js";
import { Requests, eventStream, longPolls, randomKey, startedStream } from "./ways.js";

export { END, Following, RequestError };

export class StreamClient {
  #requests;
  #timing;
  #socket = null;
  #ladder;
  #followings = new Set();
  #listening = new AbortController();

  /** @param {import("./client.js").ClientOptions} options see `client.d.ts` */
  constructor({ url, websocket = null, transports = ["websocket", "sse", "poll"], timing = {}, ...rest }) {
    const { WebSocket = globalThis.WebSocket, ...requestOptions } = rest;
    this.#requests = new Requests({ url, ...requestOptions });
    this.#timing = { ...TIMING, ...timing };
    const hasSocket = websocket !== null && WebSocket !== undefined;
    this.#ladder = new Ladder(transports.filter((name) => name !== "websocket" || hasSocket));
    if (hasSocket) this.#socket = new SharedSocket({ url: socketUrl(websocket), WebSocket, timing: this.#timing });
    whenItMayHelp(() => this.reconnect(), this.#listening.signal);
  }

  /**
   * Follows a stream from a cursor; without one, what is being written, from its start.
   *
   * With `live` it goes on from answer to answer, otherwise it ends with the newest one.
   */
  follow(stream, options = {}) {
    return this.#track({ stream, ...options });
  }

  /**
   * Starts an answer and follows it. `body` is what the server's format wants to be posted, with the stream's `id`.
   *
   * The start is repeated until it is known to have arrived, under a key by which the server knows it again. It goes by
   * HTTP even where there is a websocket: there a visitor gets a session, and a CSRF token is checked.
   */
  start(body, { key = randomKey(), ...options } = {}) {
    return this.#track({ stream: body.id, isToStart: true, ...options }, { body, key });
  }

  /** Stops what is being written; resolves to whether anything was. Throws a RequestError if the server refuses. */
  async stop(stream, { generation, signal } = {}) {
    const body = generation ? { id: stream, generation } : { id: stream };
    const response = await this.#requests.send("", { method: "DELETE", body, signal });
    return response.status !== 204;
  }

  /**
   * Reads a chat as it stands: `{messages, generations, cursor, page}`, or the page of it that comes `before` a message.
   * Throws a RequestError if the server refuses.
   */
  async messages(stream, { before, limit, signal } = {}) {
    const wanted = Object.entries({ before, limit }).filter(([, value]) => value !== undefined && value !== null);
    const query = wanted.length ? `?${new URLSearchParams(wanted)}` : "";
    const response = await this.#requests.send(`/${encodeURIComponent(stream)}/messages${query}`, { signal });
    return response.json();
  }

  /** Ends every wait for a reconnect. */
  reconnect() {
    for (const following of this.#followings) following.reconnect();
  }

  /** Leaves everything that is followed, and closes the socket. */
  close() {
    this.#listening.abort();
    for (const following of this.#followings) following.close();
    this.#socket?.close();
  }

  #track(options, started) {
    const following = new Following({ ...options, ways: this.#ways(started), ladder: this.#ladder, timing: this.#timing });
    this.#followings.add(following);
    following.ended.then(() => this.#followings.delete(following));
    return following;
  }

  #ways(started) {
    const shared = { requests: this.#requests, timing: this.#timing };
    return {
      start: (options) => startedStream({ ...shared, ...options, ...started }),
      websocket: (options) => this.#socket.follow(options),
      sse: (options) => eventStream({ ...shared, ...options }),
      poll: (options) => longPolls({ ...shared, ...options }),
    };
  }
}

/** Makes a websocket's URL of one that may be relative to the page. */
function socketUrl(url) {
  const absolute = new URL(url, globalThis.location?.href);
  absolute.protocol = absolute.protocol.replace(/^http/, "ws");
  return absolute.href;
}
