/**
 * One chat: what it holds, and the one loop that keeps it up to date.
 *
 * The loop does one thing at a time: post what was asked, or read the chat as it stands, or follow it. So there is never
 * more than one stream open, and one cursor says how far the page has come. That a stream breaks, and goes on from its
 * cursor over whatever gets through, is the client's matter, and hardly shows here.
 */

import { END, RequestError } from "../resumable_stream/client.js";
import { Answer } from "./fold.js";
import { onLongHidden } from "./visibility.js";

/** Reason with which the loop ends its own step because something more urgent came up. */
const NEXT = new Error("Something else comes first.");
/** A hidden tab with nothing going on gives its connection back after this long: browsers have six for all tabs. */
const REST_AFTER_MS = 30_000;

export class Chat extends EventTarget {
  /** Finished messages, oldest first. */
  messages = [];
  /** How answers ended, by message id: `{end, text}`. */
  ends = new Map();
  /** The answer that is being written, or null. */
  answer = null;
  /** A user message that the server did not take, or null: `{message, text}`. */
  unsent = null;
  /** Position of the first record that the page has not seen. */
  cursor = 0;
  /** The message before which the server has earlier ones, or null if the page has all. */
  earliest = null;
  isLoadingEarlier = false;
  isLoaded = false;
  isStopping = false;
  /** What went wrong with the chat as a whole, for people. */
  problem = "";

  #outgoing = null;
  #generation = null;
  /** The message id of the answer that begins next, `ANY` for an answer of our own, or null if none is awaited. */
  #expected = null;
  #isStale = true;
  #isToResume = false;
  #isResting = false;
  #closed = new AbortController();
  #step = new AbortController();

  /** A new chat is not known to the server before its first message. */
  constructor({ id, api, line, isNew = false }) {
    super();
    Object.assign(this, { id, api, line, isNew });
    this.isLoaded = isNew;
    this.#isStale = !isNew;
  }

  /** Whether an answer is on its way. */
  get isBusy() {
    return this.#outgoing !== null || this.#expected !== null || this.answer !== null;
  }

  open() {
    this.#run();
  }

  close() {
    this.#closed.abort(NEXT);
    this.#step.abort(NEXT);
  }

  send(text) {
    const message = { id: crypto.randomUUID(), role: "user", parts: [{ type: "text", text }] };
    this.#submit({ trigger: "submit-message", message });
  }

  /** Asks for the last answer again, or sends again what was not taken. */
  retry() {
    if (this.isBusy) return;
    if (this.unsent) return this.#submit({ trigger: "submit-message", message: this.unsent.message });
    const last = this.messages.at(-1);
    const messageId = last?.role === "assistant" ? last.id : undefined;
    if (messageId) this.messages = this.messages.slice(0, -1);
    this.#submit({ trigger: "regenerate-message", messageId });
  }

  async stop() {
    if (!this.isBusy || this.isStopping) return;
    this.isStopping = true;
    this.#changed();
    // Before the server has taken the question there is nothing that could be stopped: #post comes back to it.
    if (this.#outgoing === null) await this.#stopNow();
  }

  #submit({ trigger, message, messageId }) {
    if (message) this.messages = [...this.messages.filter((other) => other.id !== message.id), message];
    this.unsent = null;
    this.problem = "";
    this.#outgoing = { message, body: { id: this.id, messages: this.messages, trigger, messageId } };
    this.#changed();
    this.#interrupt();
  }

  async #run() {
    while (!this.#closed.signal.aborted) {
      const step = (this.#step = new AbortController());
      try {
        await this.#nextStep(step.signal);
      } catch (error) {
        // What an abort does to a fetch depends on the browser and the moment; its reason does not.
        const reason = step.signal.aborted ? step.signal.reason : error;
        if (reason !== NEXT) await this.#recover(reason);
      } finally {
        step.abort(NEXT);
      }
    }
  }

  async #nextStep(signal) {
    const isNothingToDo = this.#outgoing === null && !this.#isStale && (this.isNew || this.#isResting);
    if (isNothingToDo) return this.#rest(signal);
    if (this.#outgoing) return this.#post(signal);
    if (this.#isStale) return this.#load(signal);
    if (this.#isToResume) return this.#resume(signal);
    return this.#follow(signal);
  }

  async #recover(error) {
    if (error instanceof RequestError && !error.isPassing) {
      this.#tellProblem(error.message);
      await this.#untilWoken(this.#closed.signal);
      return;
    }
    // A new controller, so that a question asked meanwhile ends the wait.
    const wait = (this.#step = new AbortController());
    await this.line.backOff(wait.signal);
  }

  #tellProblem(text) {
    this.problem = text;
    this.isLoaded = true;
    this.#changed();
    this.line.rest();
  }

  async #post(signal) {
    const outgoing = this.#outgoing;
    const stream = this.api.start(outgoing.body, { signal, onChange: this.line.show });
    await stream.opened;
    signal.throwIfAborted();
    this.#outgoing = null;
    if (isRefusal(stream.end)) {
      this.isStopping = false;
      return this.#refuse(outgoing, stream.end.error);
    }
    this.isNew = false;
    this.#generation = stream.generation;
    this.#expected = ANY;
    this.#changed();
    if (this.isStopping) this.#stopNow();
    await this.#readAnswer(stream, signal);
  }

  #refuse({ message }, text) {
    if (message) {
      this.messages = this.messages.filter((other) => other !== message);
      this.unsent = { message, text };
    } else {
      this.problem = text;
    }
    // A chat whose first message was refused does not exist yet, and there is nothing to read.
    this.#isStale = !this.isNew;
    this.#changed();
  }

  async #load(signal) {
    await this.line.whenUsable(signal);
    const { messages, generations, cursor, page } = await this.api.messages(this.id, signal);
    const running = generations.findLast((generation) => generation.end === null);
    this.#isStale = false;
    this.#generation = running?.generation ?? null;
    this.#expected = running?.message ?? null;
    this.#place(messages, page);
    this.#noteEnds(generations);
    this.cursor = cursor;
    this.#isToResume = running !== undefined;
    if (!running) this.answer = null;
    else if (this.answer?.message.id !== running.message) this.answer = new Answer(running.message);
    if (!running) this.isStopping = false;
    this.isLoaded = true;
    this.isNew = generations.length === 0;
    this.#addEmptyAnswer(generations.at(-1));
    this.#changed();
  }

  /** Loads the messages before the earliest one on the page. */
  async loadEarlier() {
    const before = this.earliest;
    if (before === null || this.isLoadingEarlier) return;
    this.isLoadingEarlier = true;
    this.#changed();
    try {
      const { messages, generations, page } = await this.api.earlier(this.id, before, this.#closed.signal);
      // The chat may have been read anew meanwhile.
      if (this.earliest === before) {
        this.messages = [...messages, ...this.messages];
        this.earliest = page.cursor ?? null;
        this.#noteEnds(generations);
      }
    } catch (error) {
      if (this.#closed.signal.aborted) return;
      // Somebody has edited a message before these: the page is not the chat any more.
      if (error instanceof RequestError && error.status === 400) this.#reload();
      else this.problem = "The earlier messages could not be loaded. Try again.";
    }
    this.isLoadingEarlier = false;
    this.#changed();
  }

  /** Shows the chat's newest messages, after the earlier ones that were loaded if they are the ones before these. */
  #place(messages, { cursor = null }) {
    const known = cursor === null ? -1 : this.messages.findIndex(({ id }) => id === cursor);
    if (known > 0) {
      this.messages = [...this.messages.slice(0, known), ...messages];
      return;
    }
    this.messages = messages;
    this.earliest = cursor;
  }

  #noteEnds(generations) {
    for (const { message, end } of generations) this.ends.set(message, { end, text: this.#toldReason(message) });
  }

  /** What the stream itself told people about the end of an answer: the folded messages do not say it. */
  #toldReason(messageId) {
    return this.ends.get(messageId)?.text ?? "";
  }

  /** An answer that ended before its first word is no message, but people want to know what became of it. */
  #addEmptyAnswer(last) {
    if (!last?.end || last.end === "finished" || this.messages.at(-1)?.role !== "user") return;
    this.messages = [...this.messages, { id: last.message, role: "assistant", parts: [] }];
  }

  /** Reads the answer that was being written when the chat was read: the page has nothing of it yet. */
  async #resume(signal) {
    await this.#readAnswer(this.api.resume(this.id, { signal, onChange: this.line.show }), signal);
  }

  async #readAnswer(stream, signal) {
    const end = await this.#read(stream, signal);
    // It has ended meanwhile, and is a message now.
    if (this.answer || end.reason === END.NOTHING) this.#reload();
  }

  async #follow(signal) {
    const stream = this.api.follow(this.id, this.cursor, { signal, onChange: this.line.show });
    this.#restWhenHidden(signal);
    await this.#read(stream, signal);
    // The log has nothing at this cursor: it is another log than the one the chat was read from.
    this.#isStale = true;
    throw new Error("A stream that is followed has no end of its own.");
  }

  /** Takes what comes until the stream is over; returns how it ended. */
  async #read(stream, signal) {
    for await (const { id, chunk } of stream) {
      signal.throwIfAborted();
      this.cursor = id ?? this.cursor;
      this.#apply(chunk);
      this.#changed();
    }
    signal.throwIfAborted();
    const end = await stream.ended;
    if (isRefusal(end)) throw new RequestError({ status: end.status ?? 403, message: end.error });
    this.cursor = end.cursor ?? this.cursor;
    return end;
  }

  #apply(chunk) {
    if (chunk.type === "start") return this.#begin(chunk);
    // Somebody else's answer, joined in the middle: better read the chat anew than show half of it.
    if (this.answer === null) return this.#reload();
    this.answer.apply(chunk);
    if (this.answer.end) this.#finish(this.answer);
  }

  #begin({ messageId }) {
    const isExpected = this.#expected === ANY || this.#expected === messageId;
    // Another tab has asked: its question, and what it did to the messages before, stand on the log.
    if (!isExpected) return this.#reload();
    this.#expected = null;
    this.#isToResume = false;
    this.answer = new Answer(messageId);
  }

  #finish({ message, end, errorText }) {
    const others = this.messages.filter((other) => other.id !== message.id);
    this.messages = message.parts.length || end !== "finished" ? [...others, message] : others;
    this.ends.set(message.id, { end, text: errorText });
    this.answer = null;
    this.isStopping = false;
    this.#generation = null;
    // Failed or interrupted? The stream has one word for both, the log has two.
    if (end === "failed") this.#reload();
  }

  #reload() {
    this.#isStale = true;
    this.#interrupt();
  }

  async #stopNow() {
    try {
      if (await this.api.stop(this.id, this.#generation)) return;
      this.#reload();
    } catch (error) {
      const isAnswered = error instanceof RequestError;
      this.problem = isAnswered ? error.message : "The server could not be reached. Try to stop again.";
      if (isAnswered) this.#reload();
    }
    this.isStopping = false;
    this.#changed();
  }

  async #rest(signal) {
    this.line.rest(this.#isResting ? "resting" : "idle");
    await this.#untilWoken(signal);
    this.#isResting = false;
  }

  #restWhenHidden(signal) {
    onLongHidden(REST_AFTER_MS, signal, () => {
      if (this.isBusy) return;
      this.#isResting = true;
      this.#interrupt();
    });
  }

  /** Resolves when the tab is looked at again, the step is interrupted, or the chat closed. */
  #untilWoken(signal) {
    return new Promise((resolve) => {
      const step = this.#step.signal;
      const done = () => {
        document.removeEventListener("visibilitychange", look);
        resolve();
      };
      const look = () => document.hidden || done();
      document.addEventListener("visibilitychange", look);
      signal.addEventListener("abort", done);
      step.addEventListener("abort", done);
    });
  }

  #interrupt() {
    this.#step.abort(NEXT);
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

/** The next answer is our own, whatever its id. */
const ANY = Symbol("any");

const REFUSALS = [END.FORBIDDEN, END.REFUSED];

function isRefusal(end) {
  return REFUSALS.includes(end?.reason);
}
