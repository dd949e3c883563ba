import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

globalThis.addEventListener = () => {};

const { Chat } = await import("./page/chat.js");
const { Line } = await import("./page/line.js");
const { RequestError } = await import("./resumable_stream/client.js");

/** A stream as the client follows it, which the test opens, writes and ends. */
class Stream {
  generation = null;
  end = null;
  #waiting = [];
  #wake = () => {};

  constructor(signal) {
    this.opened = new Promise((resolve) => (this.resolveOpened = resolve));
    this.ended = new Promise((resolve) => (this.resolveEnded = resolve));
    signal.addEventListener("abort", () => this.finish("closed"));
  }

  open(generation = null) {
    this.generation = generation;
    this.resolveOpened(this);
    return this;
  }

  send(id, ...chunks) {
    for (const chunk of chunks) this.#waiting.push({ id: id === null ? null : id++, chunk });
    this.#wake();
  }

  finish(reason, more = {}) {
    this.end ??= { reason, cursor: null, ...more };
    this.open(this.generation).resolveEnded(this.end);
    this.#wake();
  }

  async *[Symbol.asyncIterator]() {
    for (;;) {
      while (!this.#waiting.length && !this.end) await new Promise((resolve) => (this.#wake = resolve));
      if (!this.#waiting.length) return;
      yield this.#waiting.shift();
    }
  }
}

/** A server whose answers the test gives: every request waits until it is taken by `next`. */
class Server {
  #requests = [];
  #wake = () => {};

  /** The next request of the page: `{name, args, answer(value), refuse(error), stream}`. */
  async next(name) {
    while (!this.#requests.length) await new Promise((resolve) => (this.#wake = resolve));
    const request = this.#requests.shift();
    assert.equal(request.name, name);
    return request;
  }

  #ask(name, args, signal) {
    return new Promise((resolve, reject) => {
      signal?.addEventListener("abort", () => reject(signal.reason));
      this.#put({ name, args, answer: resolve, refuse: reject });
    });
  }

  #stream(name, args, { signal }) {
    const stream = new Stream(signal);
    this.#put({ name, args, stream });
    return stream;
  }

  #put(request) {
    this.#requests.push(request);
    this.#wake();
  }

  start = (body, options) => this.#stream("start", body, options);
  follow = (id, cursor, options) => this.#stream("follow", cursor, options);
  resume = (id, options) => this.#stream("resume", id, options);
  messages = async (id, signal) => ({ page: { truncated: false }, ...(await this.#ask("messages", id, signal)) });
  earlier = (id, before, signal) => this.#ask("earlier", before, signal);
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

/** Opens a new chat and asks; returns the stream of the answer. */
async function ask() {
  open({ isNew: true });
  chat.send("Why?");
  return (await server.next("start")).stream.open("g");
}

/** Opens a chat that has one finished turn; returns the stream that follows it. */
async function openFinished() {
  open();
  (await server.next("messages")).answer({ messages: [question, answer], generations: ended("finished"), cursor: 9 });
  const request = await server.next("follow");
  assert.equal(request.args, 9);
  return request.stream.open();
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

  const stream = request.stream.open("g");
  stream.send(4, START, ...WORDS);
  await until(() => shownText() === "So.");
  stream.send(8, { type: "finish" });
  stream.finish("finished", { cursor: 10 });

  assert.equal((await server.next("follow")).args, 10);
  assert.deepEqual(roles(), ["user", "assistant"]);
  assert.deepEqual([chat.ends.get("m").end, chat.isBusy], ["finished", false]);
});

test("between the server's yes and the first chunk the chat is busy", async () => {
  await ask();

  await until(() => chat.isBusy && !chat.isNew);
  assert.equal(chat.answer, null);
});

test("an answer that is over before its last chunk has come is read from the log", async () => {
  const stream = await ask();
  stream.send(4, START, ...WORDS);
  stream.finish("nothing");

  const [kept] = chat.messages;
  (await server.next("messages")).answer({ messages: [kept, answer], generations: ended("finished"), cursor: 9 });
  assert.equal((await server.next("follow")).args, 9);
  assert.equal(chat.isBusy, false);
});

test("a page that is opened in the middle of an answer reads it from its start", async () => {
  open();
  (await server.next("messages")).answer({ messages: [question], generations: ended(null), cursor: 6 });
  await until(() => chat.isLoaded);
  assert.deepEqual([chat.isBusy, roles()], [true, ["user"]]);

  const { stream } = await server.next("resume");
  stream.send(4, START, ...WORDS, { type: "finish" });
  stream.finish("finished");

  assert.equal((await server.next("follow")).args, 8);
  assert.deepEqual(chat.messages.at(-1).parts[0].text, "So.");
});

test("an answer that ended between two looks is read as the message it has become", async () => {
  open();
  (await server.next("messages")).answer({ messages: [question], generations: ended(null), cursor: 6 });
  (await server.next("resume")).stream.finish("nothing");
  (await server.next("messages")).answer({ messages: [question, answer], generations: ended("finished"), cursor: 9 });

  assert.equal((await server.next("follow")).args, 9);
  assert.deepEqual([chat.messages, chat.isBusy], [[question, answer], false]);
});

const older = { id: "u0", role: "user", parts: [{ type: "text", text: "Who?" }] };
const hasOlder = { truncated: true, cursor: question.id };

/** Opens a chat whose page has the newest turn alone. */
async function openLong() {
  open();
  const newest = { messages: [question, answer], generations: ended("finished"), cursor: 9, page: hasOlder };
  (await server.next("messages")).answer(newest);
  return (await server.next("follow")).stream.open();
}

test("earlier messages are loaded before those on the page, with how they ended", async () => {
  await openLong();
  assert.equal(chat.earliest, "u");

  chat.loadEarlier();
  chat.loadEarlier();
  const request = await server.next("earlier");
  assert.deepEqual([request.args, chat.isLoadingEarlier], ["u", true]);
  const generations = [{ generation: "g0", message: "m0", end: "stopped" }];
  request.answer({ messages: [older], generations, cursor: 9, page: { truncated: false } });
  await until(() => !chat.isLoadingEarlier);

  assert.deepEqual(chat.messages, [older, question, answer]);
  assert.deepEqual([chat.earliest, chat.ends.get("m0").end, chat.ends.get("m").end], [null, "stopped", "finished"]);
});

test("earlier messages stay when the newest are read again", async () => {
  const stream = await openLong();
  chat.loadEarlier();
  (await server.next("earlier")).answer({ messages: [older], generations: [], cursor: 9, page: { truncated: false } });
  await until(() => !chat.isLoadingEarlier);
  stream.send(10, { type: "start", messageId: "other" });
  const newest = { messages: [question, answer], generations: ended("finished"), cursor: 12, page: hasOlder };
  (await server.next("messages")).answer(newest);
  await server.next("follow");

  assert.deepEqual([chat.messages, chat.earliest], [[older, question, answer], null]);
});

test("a page whose earliest message is gone reads the chat again", async () => {
  await openLong();
  chat.loadEarlier();
  (await server.next("earlier")).refuse(new RequestError({ status: 400, message: "No such message." }));
  const edited = { ...question, id: "u2" };
  (await server.next("messages")).answer({ messages: [edited], generations: ended("finished"), cursor: 12 });
  await server.next("follow");

  assert.deepEqual([chat.messages, chat.earliest], [[edited], null]);
});

test("earlier messages that could not be loaded are told, and can be asked for again", async () => {
  await openLong();
  chat.loadEarlier();
  (await server.next("earlier")).refuse(new TypeError("no connection"));
  await until(() => !chat.isLoadingEarlier);

  assert.deepEqual([chat.earliest, chat.problem !== "", chat.messages.length], ["u", true, 2]);
});

test("a turn of another tab is read with its question, and then followed", async () => {
  const stream = await openFinished();
  stream.send(13, { type: "start", messageId: "other" });

  const messages = [question, answer, { ...question, id: "u2" }];
  const generations = [...ended("finished"), { generation: "g2", message: "other", end: null }];
  (await server.next("messages")).answer({ messages, generations, cursor: 14 });
  (await server.next("resume")).stream.send(13, { type: "start", messageId: "other" }, ...WORDS);

  await until(() => shownText() === "So.");
  assert.deepEqual(roles(), ["user", "assistant", "user"]);
});

test("what failed on the stream is looked up on the log, which knows why", async () => {
  const stream = await ask();
  stream.send(4, START, ...WORDS, { type: "error", errorText: "Gone." });

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
  (await server.next("start")).stream.finish("refused", { status: 409, error: "An answer is being written." });

  const messages = [question, answer, { ...question, id: "u2" }];
  (await server.next("messages")).answer({ messages, generations: ended("finished"), cursor: 20 });

  await until(() => !chat.isBusy && chat.messages.length === 3);
  assert.equal(chat.unsent.text, "An answer is being written.");
  assert.equal(chat.unsent.message.parts[0].text, "And?");
});

test("a question that was not taken is sent again by hand, as it was", async () => {
  open({ isNew: true });
  chat.send("Why?");
  (await server.next("start")).stream.finish("refused", { status: 503, error: "Full." });

  await until(() => chat.unsent !== null);
  const { message } = chat.unsent;
  chat.retry();

  const request = await server.next("start");
  assert.deepEqual(request.args.messages, [message]);
});

test("a chat that is rebuilt before it goes on counts what the log does not have for nothing", async () => {
  open();
  (await server.next("messages")).answer({ messages: [question], generations: ended(null), cursor: 6 });
  const { stream } = await server.next("resume");
  stream.send(null, START, ...WORDS);
  await until(() => shownText() === "So.");

  assert.equal(chat.cursor, 6);
});

test("a retry asks for the last answer again without it", async () => {
  await openFinished();
  chat.retry();

  const { args } = await server.next("start");
  assert.deepEqual(args, { id: "c", messages: [question], trigger: "regenerate-message", messageId: "m" });
});

test("a stop names the generation it means", async () => {
  const stream = await ask();
  stream.send(4, START);
  await until(() => chat.answer !== null);
  chat.stop();

  const request = await server.next("stop");
  assert.equal(request.args, "g");
  request.answer(true);
  stream.send(5, { type: "abort" });
  await until(() => !chat.isBusy);
  assert.deepEqual([chat.ends.get("m").end, chat.isStopping], ["stopped", false]);
});

test("a stop that comes before the server's answer is sent as soon as there is something to stop", async () => {
  open({ isNew: true });
  chat.send("Why?");
  const { stream } = await server.next("start");
  chat.stop();
  stream.open("g");

  assert.equal((await server.next("stop")).args, "g");
});

test("a stop that finds nothing running reads the chat again", async () => {
  const stream = await ask();
  stream.send(4, START);
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
  (await server.next("messages")).refuse(new RequestError({ status: 403, message: "Not yours." }));

  await until(() => chat.problem !== "");
  assert.deepEqual([chat.problem, chat.isLoaded, line.state], ["Not yours.", true, "idle"]);
});

test("a right that ends is told like one that was never there", async () => {
  const stream = await openFinished();
  stream.finish("forbidden", { error: "You no longer have access to this chat." });

  await until(() => chat.problem !== "");
  assert.equal(chat.problem, "You no longer have access to this chat.");
});

test("a chat whose log is gone is read anew", async () => {
  open();
  (await server.next("messages")).answer({ messages: [question, answer], generations: ended("finished"), cursor: 9 });
  (await server.next("follow")).stream.finish("nothing");

  (await server.next("messages")).answer({ messages: [], generations: [], cursor: 0 });
  await until(() => chat.messages.length === 0);
});
