// Servers and sockets that the tests hold by the hand, and time that only passes when it is told to.
import { mock } from "node:test";

/** Lets everything happen that needs no time. */
export async function settle() {
  for (let turn = 0; turn < 30; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Stops the clock until the test ends; returns what moves it. */
export function stopClock() {
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  return async (ms) => {
    await settle();
    mock.timers.tick(ms);
    await settle();
  };
}

/** A body that the test writes; the reader's abort breaks it at once, a tear once what was written is read. */
export class Body {
  #controller;
  #encoder = new TextEncoder();
  #waiting = [];
  #wake = () => {};
  isCancelled = false;

  constructor(signal) {
    const source = {
      start: (controller) => (this.#controller = controller),
      pull: () => this.#pull(),
      cancel: () => (this.isCancelled = true),
    };
    this.stream = new ReadableStream(source, { highWaterMark: 0 });
    signal?.addEventListener("abort", () => {
      this.isCancelled = true;
      this.#put(() => {});
      this.#controller.error(signal.reason);
    });
  }

  /** How much of what was written nobody has read. */
  get unread() {
    return this.#waiting.length;
  }

  async #pull() {
    while (!this.#waiting.length) await new Promise((resolve) => (this.#wake = resolve));
    if (!this.isCancelled) this.#waiting.shift()();
  }

  #put(act) {
    this.#waiting.push(act);
    this.#wake();
    return this;
  }

  write(text) {
    return this.#put(() => this.#controller.enqueue(typeof text === "string" ? this.#encoder.encode(text) : text));
  }

  chunks(...pairs) {
    for (const [id, chunk] of pairs) this.write(frame(id, chunk));
    return this;
  }

  end() {
    this.#put(() => this.#controller.close());
  }

  tear() {
    this.#put(() => this.#controller.error(new TypeError("terminated")));
  }
}

export const PROLOGUE = "retry: 1000\n\n: stream\n\n";

export function frame(id, chunk) {
  return `${id === null ? "" : `id: ${id}\n`}data: ${JSON.stringify(chunk)}\n\n`;
}

/** A server behind `fetch`: every request waits until the test takes it by `next()` and answers. */
export class Server {
  requests = [];
  #waiting = [];

  fetch = (url, init) => {
    if (init.signal?.aborted) return Promise.reject(init.signal.reason);
    return new Promise((resolve, reject) => {
      init.signal?.addEventListener("abort", () => reject(init.signal.reason));
      const request = { url, method: init.method, headers: init.headers, signal: init.signal };
      request.body = init.body === undefined ? undefined : JSON.parse(init.body);
      request.answer = (status, body = null, headers = {}) => resolve(new Response(body, { status, headers }));
      request.json = (value) => request.answer(200, JSON.stringify(value), { "Content-Type": "application/json" });
      request.stream = (headers = {}) => {
        const body = new Body(init.signal);
        request.answer(200, body.stream, { "Content-Type": "text/event-stream", ...headers });
        return body.write(PROLOGUE);
      };
      // What Chromium makes of a status line that breaks off, which no Response can be constructed with.
      request.breakInHead = (status) =>
        resolve(Object.defineProperties(new Response(null), { status: { value: status }, ok: { value: false } }));
      request.fail = () => reject(new TypeError("fetch failed"));
      this.requests.push(request);
      this.#waiting.push(request);
    });
  };

  async next() {
    for (let turn = 0; turn < 100 && this.isIdle; turn += 1) await settle();
    if (this.isIdle) throw new Error("No request came.");
    return this.#waiting.shift();
  }

  get isIdle() {
    return this.#waiting.length === 0;
  }
}

/** Makes a WebSocket class whose sockets the test opens, speaks on and closes. */
export function fakeSockets() {
  return class FakeSocket extends EventTarget {
    static made = [];
    readyState = 0;
    sent = [];

    constructor(url, protocol) {
      super();
      Object.assign(this, { url, protocol });
      FakeSocket.made.push(this);
    }

    static get last() {
      return FakeSocket.made.at(-1);
    }

    open() {
      this.readyState = 1;
      this.dispatchEvent(new Event("open"));
    }

    send(text) {
      this.sent.push(JSON.parse(text));
    }

    say(...messages) {
      for (const message of messages) {
        this.dispatchEvent(Object.assign(new Event("message"), { data: JSON.stringify(message) }));
      }
    }

    break(code = 1006) {
      if (this.readyState === 3) return;
      this.readyState = 3;
      this.dispatchEvent(new Event("error"));
      this.dispatchEvent(Object.assign(new Event("close"), { code }));
    }

    close(code) {
      this.closedWith = code;
      queueMicrotask(() => this.break(code ?? 1005));
    }
  };
}

/** Takes everything that comes; `events` grows. */
export function gather(following) {
  const events = [];
  const done = (async () => {
    for await (const event of following) events.push(event);
  })();
  return { events, done, get chunks() { return events.map(({ chunk }) => chunk); } };
}
