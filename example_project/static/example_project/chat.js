/**
 * One chat: what it holds, and the one loop that keeps it up to date.
 *
 * The loop does one thing at a time: post what was asked, or read the chat as it stands, or follow it. So there is never
 * more than one stream open, and one cursor says how far the page has come; whatever breaks, following goes on from it.
 */

import { HttpError } from "./api.js";
import { Answer } from "./fold.js";
import { CUT } from "./line.js";
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
  isLoaded = false;
  isStopping = false;
  /** What went wrong with the chat as a whole, for people. */
  problem = "";

  #outgoing = null;
  #unconfirmed = null;
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
    const isAsked = this.#outgoing !== null || this.#unconfirmed !== null || this.#expected !== null;
    return isAsked || this.answer !== null;
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
      const detach = this.line.attach(step);
      try {
        await this.#nextStep(step.signal);
      } catch (error) {
        // What an abort does to a fetch depends on the browser and the moment; its reason does not.
        const reason = step.signal.aborted ? step.signal.reason : error;
        if (reason !== NEXT && reason !== CUT) await this.#recover(reason);
      } finally {
        detach();
        step.abort(NEXT);
      }
    }
  }

  async #nextStep(signal) {
    const isNothingToDo = this.#outgoing === null && !this.#isStale && (this.isNew || this.#isResting);
    if (isNothingToDo) return this.#rest(signal);
    await this.line.whenUsable(signal);
    if (this.#outgoing) return this.#post(signal);
    if (this.#isStale) return this.#load(signal);
    if (this.#isToResume) return this.#resume(signal);
    return this.#follow(signal);
  }

  async #recover(error) {
    if (error instanceof HttpError && !error.isPassing) {
      this.problem = error.message;
      this.isLoaded = true;
      this.#changed();
      this.line.rest();
      await this.#untilWoken(this.#closed.signal);
      return;
    }
    // A new controller, so that a question asked meanwhile ends the wait.
    const wait = (this.#step = new AbortController());
    const detach = this.line.attach(wait);
    await this.line.backOff(wait.signal);
    detach();
  }

  async #post(signal) {
    const outgoing = this.#outgoing;
    let started;
    try {
      started = await this.api.start(outgoing.body, signal);
    } catch (error) {
      this.#outgoing = null;
      this.isStopping = false;
      this.#isStale = true;
      if (error instanceof HttpError) return this.#refuse(outgoing, error.message);
      // It may have arrived nevertheless. The log knows; #load looks it up there.
      this.#unconfirmed = outgoing;
      throw error;
    }
    this.#outgoing = null;
    this.isNew = false;
    this.#generation = started.generation;
    this.#expected = ANY;
    this.line.established();
    this.#changed();
    if (this.isStopping) this.#stopNow();
    await this.#read(started.events, signal);
    if (this.answer) throw new Error("The answer broke off.");
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
    const { messages, generations, cursor } = await this.api.messages(this.id, signal);
    this.line.established();
    const running = generations.findLast((generation) => generation.end === null);
    this.#isStale = false;
    this.#generation = running?.generation ?? null;
    this.#expected = running?.message ?? null;
    this.messages = messages;
    this.ends = new Map(generations.map(({ message, end }) => [message, { end, text: this.#toldReason(message) }]));
    this.cursor = cursor;
    this.#isToResume = running !== undefined;
    if (!running) this.answer = null;
    else if (this.answer?.message.id !== running.message) this.answer = new Answer(running.message);
    if (!running) this.isStopping = false;
    this.isLoaded = true;
    this.isNew = generations.length === 0;
    this.#addEmptyAnswer(generations.at(-1));
    this.#confirm();
    this.#changed();
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

  /** Finds out whether a question, whose request broke off, has arrived. */
  #confirm() {
    const message = this.#unconfirmed?.message;
    this.#unconfirmed = null;
    if (!message) return;
    const hasArrived = this.messages.some((other) => other.id === message.id);
    if (!hasArrived) this.unsent = { message, text: "The message did not reach the server." };
  }

  /** Reads the answer that was being written when the chat was read: the page has nothing of it yet. */
  async #resume(signal) {
    const events = await this.api.resume(this.id, signal);
    // It has ended meanwhile, and is a message now.
    if (events === null) return this.#reload();
    this.line.established();
    await this.#read(events, signal);
    if (this.answer) throw new Error("The answer broke off.");
  }

  async #follow(signal) {
    const events = await this.api.follow(this.id, this.cursor, signal);
    if (events === null) {
      // The log has nothing at this cursor: it is another log than the one the chat was read from.
      this.#isStale = true;
      throw new Error("The chat's stream is gone.");
    }
    this.line.established();
    this.#restWhenHidden(signal);
    await this.#read(events, signal);
    throw new Error("A stream that is followed has no end of its own.");
  }

  async #read(events, signal) {
    for await (const event of events) {
      signal.throwIfAborted();
      if (event.id) this.cursor = Number(event.id);
      if (event.data) this.#apply(JSON.parse(event.data));
      this.#changed();
    }
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
      this.problem = error instanceof HttpError ? error.message : "The server could not be reached. Try to stop again.";
      if (error instanceof HttpError) this.#reload();
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
