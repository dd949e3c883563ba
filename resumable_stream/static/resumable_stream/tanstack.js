// A connection for TanStack AI's `useChat({ connection, live: true })` that survives whatever its network does.
//
// mode "session": one subscription follows the chat from run to run, in every tab; sending only starts a run.
// Any other mode: a run's chunks come as the answer to the request that starts it; with `subscribeUrl`, a run that is
// still going on when the page is loaded is followed, too.

const PAUSES = [0, 250, 500, 1000, 2000, 5000];
const CURSOR = /^\d+$/;
const TERMINALS = ["RUN_FINISHED", "RUN_ERROR"];

/** An answer that no further attempt can change. */
export class ConnectionError extends Error {
  constructor(message, status) {
    super(message);
    this.name = "ConnectionError";
    this.status = status;
  }
}

export function createConnection(options) {
  const { mode = "single-use", subscribeUrl } = options;
  const server = new Server(options);
  const stop = () => server.stop();
  if (mode !== "session") {
    return subscribeUrl === undefined
      ? { connect: (...sent) => run(server, ...sent), stop }
      : { ...recovering(server), stop };
  }
  if (subscribeUrl === undefined) throw new TypeError('mode "session" needs a subscribeUrl.');
  // The runs whose end the client still waits for, newest last.
  const open = new Set();
  return {
    // Each subscription begins with a snapshot: who subscribes again may hold anything, or nothing.
    subscribe: (signal) => follow(server, signal, open),
    async send(messages, data, signal, context) {
      const runId = context?.runId;
      if (runId) open.add(runId);
      try {
        await discard(await server.send(messages, data, signal, context));
      } catch (error) {
        open.delete(runId);
        throw error;
      }
    },
    stop,
  };
}

export { createConnection as createS2Connection };

// What is asked of the server, as the options say.
class Server {
  #options;
  // Settled with the first answer to a subscription. It may bring an anonymous visitor the session that owns the chat:
  // what is sent before, without it, would be said in another one's chat.
  #arrival;

  constructor(options) {
    this.#options = { credentials: "same-origin", ...options };
  }

  get arrival() {
    return this.#arrival;
  }

  async send(messages, data, signal, context, cursor) {
    await this.#arrival;
    const body = { messages, data, runId: context?.runId };
    const headers = { ...context?.headers, ...(cursor === undefined ? {} : { "Last-Event-ID": cursor }) };
    return this.#request(this.#options.sendUrl, { method: "POST", body, headers, signal });
  }

  async stop() {
    const { stopUrl, sendUrl } = this.#options;
    const response = await this.#request(stopUrl ?? sendUrl, { method: "DELETE", body: { messages: [] } });
    await discard(response);
    return response.status === 202;
  }

  replay(cursor, signal, open = []) {
    const { subscribeUrl } = this.#options;
    let url = typeof subscribeUrl === "function" ? subscribeUrl(cursor) : subscribeUrl;
    if (cursor !== undefined) url = withParameters(url, { from: [cursor] });
    else if (open.length) url = withParameters(url, { run: open });
    const answer = this.#request(url, { headers: { Accept: "text/event-stream" }, signal });
    this.#arrival ??= answer.then(() => {}, () => {});
    return answer;
  }

  async #request(url, { method = "GET", body, headers, signal }) {
    const { body: more, headers: given, credentials, fetch = globalThis.fetch } = this.#options;
    const all = new Headers(await valueOf(given));
    for (const [name, value] of Object.entries(headers ?? {})) all.set(name, value);
    const init = { method, credentials, signal, headers: all };
    if (body !== undefined) {
      all.set("Content-Type", "application/json");
      init.body = JSON.stringify({ ...body, ...(await valueOf(more)) });
    }
    const response = await fetch(typeof url === "function" ? url() : url, init);
    if (!response.ok) throw await problemOf(response);
    return response;
  }
}

const valueOf = (option) => (typeof option === "function" ? option() : option);

function withParameters(url, values) {
  const [path, fragment] = url.split(/(?=#)/);
  const [base, query = ""] = path.split(/\?(.*)/s);
  const parameters = new URLSearchParams(query);
  for (const [name, given] of Object.entries(values)) {
    parameters.delete(name);
    for (const value of given) parameters.append(name, value);
  }
  return `${base}?${parameters}${fragment ?? ""}`;
}

async function problemOf(response) {
  // The server words its refusals for people.
  const text = (await response.text().catch(() => "")).trim();
  const isPlain = response.headers.get("Content-Type")?.startsWith("text/plain");
  const message = isPlain && text ? text : `HTTP ${response.status} ${response.statusText}`.trim();
  const { status } = response;
  const isPermanent = status >= 400 && status < 500 && status !== 408 && status !== 429;
  const problem = new ConnectionError(message, status);
  problem.retryAfter = isPermanent ? undefined : 1000 * (Number(response.headers.get("Retry-After")) || 0);
  return problem;
}

const isPermanent = (error) => error instanceof ConnectionError && error.retryAfter === undefined;

const discard = (response) => response.body?.cancel();

// Counts attempts that brought nothing, and waits between them.
class Attempts {
  #failures = 0;

  progress() {
    this.#failures = 0;
  }

  get areExhausted() {
    return this.#failures >= PAUSES.length;
  }

  async pause(signal, error) {
    const pause = PAUSES[Math.min(this.#failures++, PAUSES.length - 1)];
    await sleep(Math.max(pause, error?.retryAfter ?? 0), signal);
  }
}

// Resolves after so many milliseconds, or as soon as waiting longer makes no sense.
function sleep(milliseconds, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      globalThis.removeEventListener?.("online", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal?.addEventListener("abort", done);
    globalThis.addEventListener?.("online", done);
    if (signal?.aborted) done();
  });
}

// Yields the chunks of a session, for ever.
async function* follow(server, signal, open) {
  const attempts = new Attempts();
  let cursor;
  while (!signal?.aborted) {
    let problem;
    try {
      const response = await server.replay(cursor, signal, [...open].slice(-10));
      if (response.status === 204) return;
      for await (const { id, chunk } of framesOf(response)) {
        attempts.progress();
        if (chunk.type === "RUN_STARTED") open.add(chunk.runId);
        yield chunk;
        if (TERMINALS.includes(chunk.type)) open.delete(chunk.runId);
        // Only now: a chunk that nobody took must come again.
        cursor = id ?? cursor;
      }
    } catch (error) {
      if (signal?.aborted) return;
      if (isPermanent(error)) throw error;
      problem = error;
    }
    await attempts.pause(signal, problem);
  }
}

// Yields the chunks of the run that `messages` start, to its end. The request may go out several times: the server
// knows the run by its id.
async function* run(server, messages, data, signal, context) {
  const named = { ...context, runId: context?.runId ?? crypto.randomUUID() };
  const open = (cursor) => server.send(messages, data, signal, named, cursor);
  yield* runFrom(open, signal, named);
}

async function* runFrom(open, signal, context) {
  const attempts = new Attempts();
  let cursor;
  // Whether the chunk before ended the run, or one round of it: the last end is followed by that of the body.
  let isOver = false;
  while (!signal?.aborted) {
    let problem;
    try {
      const response = await open(cursor);
      if (response.status !== 200) {
        await discard(response);
        if (context !== undefined) yield finished(context);
        return;
      }
      for await (const { id, chunk } of framesOf(response)) {
        attempts.progress();
        const isTerminal = TERMINALS.includes(chunk.type);
        // The end that we have, told again because we asked for more.
        if (isTerminal && isOver && id === undefined) return;
        isOver = isTerminal;
        yield chunk;
        cursor = id ?? cursor;
      }
      if (isOver) return;
    } catch (error) {
      if (signal?.aborted) return;
      if (isPermanent(error)) throw error;
      problem = error;
    }
    if (attempts.areExhausted) throw problem ?? new ConnectionError("The answer broke off.");
    await attempts.pause(signal, problem);
  }
}

// Where the server has nothing (any more) to say of a run, its sender must still be told that it is over.
const finished = (context) => ({
  type: "RUN_FINISHED",
  runId: context?.runId ?? "",
  threadId: context?.threadId ?? "",
  finishReason: "stop",
  timestamp: Date.now(),
});

// Runs whose chunks come with the request that starts them, and the run that was going on when the page was loaded.
function recovering(server) {
  const queue = new Queue();
  let giveUpSearch = () => {};
  return {
    async *subscribe(signal) {
      const search = new AbortController();
      const leave = () => search.abort();
      signal?.addEventListener("abort", leave);
      giveUpSearch = leave;
      const open = async (cursor) => {
        const response = await server.replay(cursor, search.signal);
        giveUpSearch = () => {};
        return response;
      };
      try {
        if (!signal?.aborted) yield* runFrom(open, search.signal);
      } finally {
        signal?.removeEventListener("abort", leave);
      }
      yield* queue.take(signal);
    },
    async send(messages, data, signal, context) {
      await server.arrival;
      // Whoever still looks for the run that was going on would find the one that begins now, and it would come twice.
      giveUpSearch();
      const named = { ...context, runId: context?.runId ?? crypto.randomUUID() };
      const open = async (cursor) => {
        const response = await server.send(messages, data, signal, named, cursor);
        // 202: the server leaves the chunks to another request.
        return response.status === 202 ? server.replay(cursor, signal) : response;
      };
      for await (const chunk of runFrom(open, signal, named)) queue.put(chunk);
    },
  };
}

class Queue {
  #chunks = [];
  #wake = () => {};

  put(chunk) {
    this.#chunks.push(chunk);
    this.#wake();
  }

  async *take(signal) {
    const wake = () => this.#wake();
    signal?.addEventListener("abort", wake);
    try {
      while (!signal?.aborted) {
        if (this.#chunks.length) yield this.#chunks.shift();
        else await new Promise((resolve) => (this.#wake = resolve));
      }
    } finally {
      signal?.removeEventListener("abort", wake);
    }
  }
}

// Yields `{ id, chunk }` for each event of an event stream (HTML standard, section 9.2.6); what is no chunk is passed
// over.
async function* framesOf(response) {
  let id;
  let data = [];
  for await (const line of linesOf(response.body)) {
    if (line === "") {
      const chunk = data.length ? parse(data.join("\n")) : undefined;
      if (chunk !== undefined) yield { id, chunk };
      id = undefined;
      data = [];
    } else if (line.startsWith("data:")) {
      data.push(line.slice(line[5] === " " ? 6 : 5));
    } else if (line.startsWith("id:")) {
      const value = line.slice(3).trim();
      id = CURSOR.test(value) ? value : undefined;
    }
  }
}

function parse(text) {
  try {
    const chunk = JSON.parse(text);
    return typeof chunk?.type === "string" ? chunk : undefined;
  } catch {
    return undefined;
  }
}

async function* linesOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      // A carriage return at the end may be half of a line's end.
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      yield* lines;
    }
  } finally {
    // Whoever leaves early lets go of the connection.
    await reader.cancel().catch(() => {});
  }
}
