import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

globalThis.addEventListener = () => {};

const { HttpError } = await import("./page/api.js");
const { Chat } = await import("./page/chat.js");
const { Line } = await import("./page/line.js");

/** A response body that the test writes, frame by frame. */
class Body {
  #waiting = [];
  #wake = () => {};

  constructor(signal) {
    signal.addEventListener("abort", () => this.fail(signal.reason));
  }

  send(id, ...chunks) {
    for (const chunk of chunks) this.#put({ event: { id: String(id++), data: JSON.stringify(chunk) } });
  }

  end() {
    this.#put({ isEnd: true });
  }

  fail(error) {
    this.#put({ error });
  }

  #put(item) {
    this.#waiting.push(item);
    this.#wake();
  }

  async *[Symbol.asyncIterator]() {
    for (;;) {
      while (!this.#waiting.length) await new Promise((resolve) => (this.#wake = resolve));
      const { event, error, isEnd } = this.#waiting.shift();
      if (error) throw error;
      if (isEnd) return;
      yield event;
    }
  }
}

/** A server whose answers the test gives: every request waits until it is taken by `next`. */
class Server {
  #requests = [];
  #wake = () => {};

  /** The next request of the page: `{name, args, answer(value), refuse(error), stream()}`. */
  async next(name) {
    while (!this.#requests.length) await new Promise((resolve) => (this.#wake = resolve));
    const request = this.#requests.shift();
    assert.equal(request.name, name);
    return request;
  }

  #ask(name, args, signal) {
    return new Promise((resolve, reject) => {
      signal?.addEventListener("abort", () => reject(signal.reason));
      const stream = (wrap = (events) => events) => {
        const body = new Body(signal);
        resolve(wrap(body));
        return body;
      };
      this.#requests.push({ name, args, answer: resolve, refuse: reject, stream });
      this.#wake();
    });
  }

  start = (body, signal) => this.#ask("start", body, signal);
  follow = (id, cursor, signal) => this.#ask("follow", cursor, signal);
  resume = (id, signal) => this.#ask("resume", id, signal);
  messages = (id, signal) => this.#ask("messages", id, signal);
  stop = (id, generation) => this.#ask("stop", generation);
}

const question = { id: "u", role: "user", parts: [{ type: "text", text: "Why?" }] };
const answer = { id: "m", role: "assistant", parts: [{ type: "text", text: "So." }] };
const START = { type: "start", messageId: "m" };
const WORDS = [
  { type: "text-start", id: "t" },
  { type: "text-delta", id: "t", delta: "So" },
  { type: "text-delta", id: "t", delta: "." },
];
const ended = (end) => [{ generation: "g", message: "m", end }];

let server;
let line;
let chat;

function open(options = {}) {
  chat = new Chat({ id: "c", api: server, line, ...options });
  chat.open();
}

/** Waits until the chat has changed so that `look` finds what it is for. */
async function until(look) {
  while (!look()) await new Promise((resolve) => chat.addEventListener("change", resolve, { once: true }));
}

const shownText = () => chat.answer?.message.parts.map(({ text }) => text).join("") ?? null;
const roles = () => chat.messages.map(({ role }) => role);

/** Opens a new chat and asks; returns the body of the answer's response. */
async function ask() {
  open({ isNew: true });
  chat.send("Why?");
  const request = await server.next("start");
  return request.stream((events) => ({ generation: "g", events }));
}

/** Opens a chat that has one finished turn; returns the body that follows it. */
async function openFinished() {
  open();
  (await server.next("messages")).answer({ messages: [question, answer], generations: ended("finished"), cursor: 9 });
  const request = await server.next("follow");
  assert.equal(request.args, 9);
  return request.stream();
}

beforeEach(() => {
  globalThis.document = Object.assign(new EventTarget(), { hidden: false });
  server = new Server();
  line = new Line();
  // The waits are the line's own matter; here they would only be waited for.
  line.backOff = async () => {};
});

afterEach(() => chat.close());

test("a question is posted with the whole chat, and its answer folded as it comes", async () => {
  open({ isNew: true });
  chat.send("Why?");
  const request = await server.next("start");
  assert.equal(request.args.trigger, "submit-message");
  assert.deepEqual(request.args.messages, chat.messages);

  const body = request.stream((events) => ({ generation: "g", events }));
  body.send(4, START, ...WORDS);
  await until(() => shownText() === "So.");
  body.send(8, { type: "finish" });
  body.end();

  assert.equal((await server.next("follow")).args, 8);
  assert.deepEqual(roles(), ["user", "assistant"]);
  assert.deepEqual([chat.ends.get("m").end, chat.isBusy], ["finished", false]);
});

test("between the server's yes and the first chunk the chat is busy", async () => {
  await ask();

  await until(() => chat.isBusy && !chat.isNew);
  assert.equal(chat.answer, null);
});

test("an answer that breaks off is followed from the cursor, and every chunk counts once", async () => {
  const body = await ask();
  body.send(4, START, ...WORDS.slice(0, 2));
  await until(() => shownText() === "So");
  body.fail(new TypeError("network error"));

  const request = await server.next("follow");
  assert.equal(request.args, 6);
  request.stream().send(7, WORDS[2], { type: "finish" });

  await until(() => !chat.isBusy);
  assert.equal(chat.messages.at(-1).parts[0].text, "So.");
});

test("an answer whose body ends without an end is followed like one that breaks off", async () => {
  const body = await ask();
  body.send(4, START, ...WORDS);
  body.end();

  assert.equal((await server.next("follow")).args, 7);
});

test("a cut keeps everything off, and following goes on afterwards", async () => {
  const body = await ask();
  body.send(4, START, ...WORDS.slice(0, 2));
  await until(() => shownText() === "So");

  line.cut(20);
  assert.equal(line.state, "cut");

  const request = await server.next("follow");
  assert.deepEqual([request.args, line.state], [6, "connecting"]);
});

test("a page that is opened in the middle of an answer reads it from its start", async () => {
  open();
  (await server.next("messages")).answer({ messages: [question], generations: ended(null), cursor: 6 });
  await until(() => chat.isLoaded);
  assert.deepEqual([chat.isBusy, roles()], [true, ["user"]]);

  const body = (await server.next("resume")).stream();
  body.send(4, START, ...WORDS, { type: "finish" });
  body.end();

  assert.equal((await server.next("follow")).args, 8);
  assert.deepEqual(chat.messages.at(-1).parts[0].text, "So.");
});

test("an answer that ended between two looks is read as the message it has become", async () => {
  open();
  (await server.next("messages")).answer({ messages: [question], generations: ended(null), cursor: 6 });
  (await server.next("resume")).answer(null);
  (await server.next("messages")).answer({ messages: [question, answer], generations: ended("finished"), cursor: 9 });

  assert.equal((await server.next("follow")).args, 9);
  assert.deepEqual([chat.messages, chat.isBusy], [[question, answer], false]);
});

test("a turn of another tab is read with its question, and then followed", async () => {
  const body = await openFinished();
  body.send(13, { type: "start", messageId: "other" });

  const messages = [question, answer, { ...question, id: "u2" }];
  const generations = [...ended("finished"), { generation: "g2", message: "other", end: null }];
  (await server.next("messages")).answer({ messages, generations, cursor: 14 });
  (await server.next("resume")).stream().send(13, { type: "start", messageId: "other" }, ...WORDS);

  await until(() => shownText() === "So.");
  assert.deepEqual(roles(), ["user", "assistant", "user"]);
});

test("what failed on the stream is looked up on the log, which knows why", async () => {
  const body = await ask();
  body.send(4, START, ...WORDS, { type: "error", errorText: "Gone." });

  const kept = chat.messages[0];
  (await server.next("messages")).answer({ messages: [kept, answer], generations: ended("interrupted"), cursor: 9 });

  await until(() => chat.ends.get("m")?.end === "interrupted");
  assert.equal(chat.ends.get("m").text, "Gone.");
});

test("an answer that failed before its first word leaves a place for its reason", async () => {
  open();
  (await server.next("messages")).answer({ messages: [question], generations: ended("failed"), cursor: 9 });

  await until(() => chat.isLoaded);
  assert.deepEqual(chat.messages.at(-1), { id: "m", role: "assistant", parts: [] });
});

test("a question that is refused stands as not sent, beside what another tab began", async () => {
  await openFinished();
  chat.send("And?");
  (await server.next("start")).refuse(new HttpError(409, "An answer is being written."));

  const messages = [question, answer, { ...question, id: "u2" }];
  (await server.next("messages")).answer({ messages, generations: ended("finished"), cursor: 20 });

  await until(() => !chat.isBusy && chat.messages.length === 3);
  assert.equal(chat.unsent.text, "An answer is being written.");
  assert.equal(chat.unsent.message.parts[0].text, "And?");
});

test("a question that may have arrived is looked up, and sent again only by hand", async () => {
  open({ isNew: true });
  chat.send("Why?");
  (await server.next("start")).refuse(new TypeError("network error"));
  (await server.next("messages")).answer({ messages: [], generations: [], cursor: 0 });

  await until(() => chat.unsent !== null);
  const { message } = chat.unsent;
  chat.retry();

  const request = await server.next("start");
  assert.deepEqual(request.args.messages, [message]);
});

test("a question that had arrived although its request broke off is followed", async () => {
  open({ isNew: true });
  chat.send("Why?");
  const [message] = chat.messages;
  (await server.next("start")).refuse(new TypeError("network error"));
  (await server.next("messages")).answer({ messages: [message], generations: ended(null), cursor: 6 });

  await server.next("resume");
  assert.deepEqual([chat.unsent, chat.isBusy], [null, true]);
});

test("a retry asks for the last answer again without it", async () => {
  await openFinished();
  chat.retry();

  const { args } = await server.next("start");
  assert.deepEqual(args, { id: "c", messages: [question], trigger: "regenerate-message", messageId: "m" });
});

test("a stop names the generation it means", async () => {
  const body = await ask();
  body.send(4, START);
  await until(() => chat.answer !== null);
  chat.stop();

  const request = await server.next("stop");
  assert.equal(request.args, "g");
  request.answer(true);
  body.send(5, { type: "abort" });
  await until(() => !chat.isBusy);
  assert.deepEqual([chat.ends.get("m").end, chat.isStopping], ["stopped", false]);
});

test("a stop that comes before the server's answer is sent as soon as there is something to stop", async () => {
  open({ isNew: true });
  chat.send("Why?");
  const request = await server.next("start");
  chat.stop();
  request.stream((events) => ({ generation: "g", events }));

  assert.equal((await server.next("stop")).args, "g");
});

test("a stop that finds nothing running reads the chat again", async () => {
  const body = await ask();
  body.send(4, START);
  await until(() => chat.answer !== null);
  chat.stop();
  (await server.next("stop")).answer(false);

  const [kept] = chat.messages;
  (await server.next("messages")).answer({ messages: [kept, answer], generations: ended("finished"), cursor: 9 });
  await until(() => !chat.isBusy);
  assert.equal(chat.isStopping, false);
});

test("a refusal of the whole chat is told, and nothing is asked again by itself", async () => {
  open();
  (await server.next("messages")).refuse(new HttpError(403, "Not yours."));

  await until(() => chat.problem !== "");
  assert.deepEqual([chat.problem, chat.isLoaded, line.state], ["Not yours.", true, "idle"]);
});

test("a chat whose log is gone is read anew", async () => {
  open();
  (await server.next("messages")).answer({ messages: [question, answer], generations: ended("finished"), cursor: 9 });
  (await server.next("follow")).answer(null);

  (await server.next("messages")).answer({ messages: [], generations: [], cursor: 0 });
  await until(() => chat.messages.length === 0);
});
