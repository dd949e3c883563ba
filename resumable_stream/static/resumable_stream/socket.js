/** One websocket for all streams of a page: opened when the first is followed, closed a while after the last. */

import { ANSWER_ENDS } from "./ends.js";
import { NoWayError, OccupiedError, RequestError } from "./errors.js";
import { withinTime } from "./event-stream.js";

const PROTOCOL = "resumable-stream.v1";
/** Messages that may wait for a reader that is slower than the stream; then it is unsubscribed, and comes back. */
const MOST_WAITING = 2_000;
const IDLE_MS = 10_000;

export class SharedSocket {
  #url;
  #WebSocket;
  #timing;
  /** The socket that is open or being opened, and the promise of that. */
  #socket = null;
  #opening = null;
  /** Stream id to the inbox of its subscription. */
  #inboxes = new Map();
  /** Stream id to the promise that the server has confirmed the end of a subscription that was given up. */
  #leaving = new Map();
  #pinging = null;
  #idling = null;

  /** @param {{url: string, WebSocket: typeof WebSocket, timing: {openMs: number, pingMs: number}}} options */
  constructor({ url, WebSocket, timing }) {
    this.#url = url;
    this.#WebSocket = WebSocket;
    this.#timing = timing;
  }

  /** Follows a stream, as the ways in `ways.js` do. */
  async *follow({ stream, from, live, signal }) {
    await this.#openFor(stream);
    signal.throwIfAborted();
    if (this.#inboxes.has(stream)) throw new OccupiedError("The stream is followed on this socket already.");
    const inbox = new Inbox({ live });
    this.#inboxes.set(stream, inbox);
    clearTimeout(this.#idling);
    const leave = () => inbox.close();
    signal.addEventListener("abort", leave);
    // A server that takes sockets but does not answer on them is no way either.
    const patience = setTimeout(() => inbox.fail(new NoWayError("The websocket does not answer.")), this.#timing.openMs);
    try {
      this.#send({ type: "subscribe", stream, ...(from === null ? {} : { from }), ...(live ? { live: true } : {}) });
      for await (const message of inbox) {
        clearTimeout(patience);
        yield message;
      }
    } finally {
      clearTimeout(patience);
      signal.removeEventListener("abort", leave);
      this.#leave(stream, inbox);
    }
  }

  /** Closes the socket; subscriptions end as if it had broken. */
  close() {
    this.#socket?.close(1000);
    this.#drop(this.#socket, new Error("The socket was closed."));
  }

  /** Opens the socket, and waits until what comes for the stream can only be of the next subscription. */
  async #openFor(stream) {
    for (;;) {
      await this.#open();
      const leaving = this.#leaving.get(stream);
      if (!leaving) return;
      await withinTime(leaving.promise, this.#timing.openMs).catch((error) => {
        throw new NoWayError("The websocket does not answer.", { cause: error });
      });
    }
  }

  #leave(stream, inbox) {
    if (this.#inboxes.get(stream) !== inbox) return;
    this.#inboxes.delete(stream);
    if (!inbox.hasEnded) {
      const leaving = {};
      leaving.promise = new Promise((resolve) => (leaving.resolve = resolve));
      this.#leaving.set(stream, leaving);
      this.#send({ type: "unsubscribe", stream });
    }
    if (this.#inboxes.size === 0) this.#closeWhenIdle();
  }

  #hasLeft(stream) {
    const leaving = this.#leaving.get(stream);
    this.#leaving.delete(stream);
    leaving?.resolve();
  }

  #closeWhenIdle() {
    clearTimeout(this.#idling);
    this.#idling = setTimeout(() => this.#inboxes.size === 0 && this.close(), IDLE_MS);
    // Nobody in Node shall wait for this alone.
    this.#idling.unref?.();
  }

  #open() {
    this.#opening ??= this.#opened(this.#make());
    return this.#opening;
  }

  #make() {
    try {
      return new this.#WebSocket(this.#url, PROTOCOL);
    } catch (error) {
      throw new NoWayError("The websocket cannot be made.", { cause: error });
    }
  }

  #opened(socket) {
    this.#socket = socket;
    return new Promise((resolve, reject) => {
      const fail = (message) => {
        clearTimeout(patience);
        const error = new NoWayError(message);
        this.#drop(socket, error);
        reject(error);
      };
      const patience = setTimeout(() => {
        socket.close();
        fail("The websocket does not open.");
      }, this.#timing.openMs);
      socket.addEventListener("open", () => {
        clearTimeout(patience);
        this.#keepAlive();
        resolve();
      });
      socket.addEventListener("message", ({ data }) => socket === this.#socket && this.#take(data));
      // After an error there is always a close, which has the better reason.
      socket.addEventListener("error", () => {});
      socket.addEventListener("close", ({ code }) => fail(`The websocket was closed (${code}).`));
    });
  }

  /** Ends everything that depends on `socket`; the next to follow opens another one. */
  #drop(socket, error) {
    if (socket === null || socket !== this.#socket) return;
    this.#socket = this.#opening = null;
    clearTimeout(this.#pinging);
    clearTimeout(this.#idling);
    for (const stream of [...this.#leaving.keys()]) this.#hasLeft(stream);
    const inboxes = [...this.#inboxes.values()];
    this.#inboxes.clear();
    for (const inbox of inboxes) {
      // One that has worked is torn; one that the server has not answered on did not get through.
      if (inbox.isOpen) inbox.close();
      else inbox.fail(error);
    }
  }

  #send(message) {
    if (this.#socket?.readyState === 1) this.#socket.send(JSON.stringify(message));
  }

  /** Pings after a silence, and gives the socket up if the silence goes on. */
  #keepAlive() {
    clearTimeout(this.#pinging);
    const socket = this.#socket;
    this.#pinging = setTimeout(() => {
      this.#send({ type: "ping" });
      this.#pinging = setTimeout(() => {
        socket.close();
        this.#drop(socket, new Error("The websocket fell silent."));
      }, this.#timing.openMs);
    }, this.#timing.pingMs);
    this.#pinging.unref?.();
  }

  #take(data) {
    this.#keepAlive();
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return; // Not of this dialect.
    }
    const { type, stream } = message;
    if (type === "unsubscribed") this.#hasLeft(stream);
    else this.#inboxes.get(stream)?.take(message);
  }
}

/** The messages of one subscription, in order, for the one who reads them. */
class Inbox {
  isOpen = false;
  /** Whether the server itself has ended the subscription. */
  hasEnded = false;
  #waiting = [];
  #isClosed = false;
  #error = null;
  #wake = () => {};
  #live;

  constructor({ live }) {
    this.#live = live;
  }

  take(message) {
    if (message.type === "subscribed") {
      this.isOpen = true;
      this.#put({ type: "open" });
    } else if (message.type === "error") {
      this.#takeError(message);
    } else if (this.isOpen) {
      // A live subscription goes on from answer to answer.
      this.hasEnded ||= message.type === "end" && !(this.#live && ANSWER_ENDS.has(message.reason));
      this.#put(message);
    }
  }

  /** An error on the way is told for information only: the server goes on by itself. */
  #takeError({ status, error, retry = null, generation = null }) {
    if (this.isOpen && retry !== null) return;
    this.hasEnded = true;
    const retryAfterMs = retry === null ? null : retry * 1000;
    this.fail(new RequestError({ status, message: error, generation, retryAfterMs }));
  }

  #put(message) {
    if (this.#isClosed) return;
    this.#waiting.push(message);
    if (this.#waiting.length === MOST_WAITING) {
      this.#waiting.push({ type: "switch" });
      this.close();
    }
    this.#wake();
  }

  /** Ends it once what waits is read. */
  close() {
    this.#isClosed = true;
    this.#wake();
  }

  fail(error) {
    this.#error = error;
    this.close();
  }

  async *[Symbol.asyncIterator]() {
    for (;;) {
      while (this.#waiting.length === 0 && !this.#isClosed) await new Promise((resolve) => (this.#wake = resolve));
      const waiting = this.#waiting;
      this.#waiting = [];
      yield* waiting;
      if (this.#isClosed && this.#waiting.length === 0) {
        if (this.#error) throw this.#error;
        return;
      }
    }
  }
}
