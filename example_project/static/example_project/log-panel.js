/**
 * The log behind the chat: its records as they arrive, and how far the page has read them.
 *
 * The panel has a connection of its own, which a cut leaves alone: so one sees the log grow without the page, and the
 * page catch up from its cursor.
 */

import { h, setText } from "./dom.js";
import { Scroller } from "./scroller.js";

const MOST_ROWS = 1500;
const RETRY_MS = 1_500;

const KIND_TITLES = {
  claim: "A writer becomes the owner of the stream: a fence with its token",
  begin: "What the generation says about itself",
  user: "The question",
  chunk: "A piece of the answer",
  heartbeat: "The writer is alive while its model is silent",
  end: "How the generation ended",
  fence: "The fence that ends the generation: nothing of it can follow",
  trim: "Older records are dropped",
};

export class LogPanel {
  #chatId = null;
  #next = null;
  #rows = [];
  #seen = 0;
  #cursor = 0;
  #connection = new AbortController();

  constructor(element, { api }) {
    this.api = api;
    this.element = element;
    this.list = element.querySelector(".log-rows");
    this.position = element.querySelector(".log-position");
    this.empty = element.querySelector(".log-empty");
    this.mark = h("li", { class: "log-mark" });
    this.scroller = new Scroller(element.querySelector(".log-scroll"), this.list);
  }

  get isOpen() {
    return !this.element.hidden;
  }

  setOpen(isOpen) {
    this.element.hidden = !isOpen;
    this.#connection.abort();
    if (isOpen && this.#chatId) this.#run();
  }

  /** Shows the log of another chat; `null` for one that the server does not know yet. */
  show(chatId) {
    if (chatId === this.#chatId) return;
    this.#chatId = chatId;
    this.#connection.abort();
    this.#clear();
    if (this.isOpen && chatId) this.#run();
  }

  /** Moves the mark that says how far the page has read. */
  setCursor(cursor) {
    if (cursor === this.#cursor) return;
    if (cursor < this.#cursor) this.#seen = 0;
    this.#cursor = cursor;
    this.#moveMark();
  }

  async #run() {
    const connection = (this.#connection = new AbortController());
    while (!connection.signal.aborted) {
      try {
        const events = await this.api.log(this.#chatId, this.#next, connection.signal);
        if (events) await this.#read(events, connection.signal);
      } catch {
        // Whatever it was, the next try either works or fails the same way; the chat itself says what is wrong.
      }
      await pause(RETRY_MS, connection.signal);
    }
  }

  async #read(events, signal) {
    for await (const event of events) {
      if (signal.aborted) return;
      this.#add(JSON.parse(event.data));
      this.#next = Number(event.id);
    }
  }

  #add(record) {
    // The log starts anew when its file was deleted.
    if (this.#rows.length && record.seq_num <= this.#rows.at(-1).seq) this.#clear();
    const row = h(
      "li",
      { class: "log-row", "data-kind": record.kind, title: KIND_TITLES[record.kind] },
      h("span", { class: "log-seq" }, String(record.seq_num)),
      h("span", { class: "log-kind" }, record.kind),
      h("span", { class: "log-text", title: record.text }, ...summary(record)),
      h("span", { class: "log-size" }, `${record.bytes} B`),
      h("time", { class: "log-time", dateTime: new Date(record.time).toISOString() }, clock(record.time)),
    );
    this.#rows.push({ seq: record.seq_num, kind: record.kind, row });
    this.list.append(row);
    if (this.#rows.length > MOST_ROWS) this.#dropFirst();
    this.empty.hidden = true;
    this.#moveMark();
  }

  #dropFirst() {
    this.#rows.shift().row.remove();
    this.#seen = Math.max(0, this.#seen - 1);
  }

  /** Chunks from the cursor on stand below the mark. Only chunks are sent to pages, so other records hold nobody up. */
  #moveMark() {
    const isRead = ({ seq, kind }) => seq < this.#cursor || kind !== "chunk";
    while (this.#seen < this.#rows.length && isRead(this.#rows[this.#seen])) this.#seen += 1;
    const first = this.#rows[this.#seen]?.row ?? null;
    if (this.mark.nextSibling !== first || !this.mark.isConnected) this.list.insertBefore(this.mark, first);
    const behind = this.#rows.slice(this.#seen).filter(({ kind }) => kind === "chunk").length;
    this.mark.classList.toggle("is-behind", behind > 0);
    this.mark.hidden = this.#rows.length === 0;
    setText(this.mark, behind ? `the page is ${behind} record${behind === 1 ? "" : "s"} behind` : "the page has read all");
    setText(this.position, this.#rows.length ? `tail ${this.#rows.at(-1).seq + 1} · cursor ${this.#cursor}` : "");
  }

  #clear() {
    this.#rows = [];
    this.#seen = 0;
    this.#next = null;
    this.list.replaceChildren();
    setText(this.position, "");
    this.empty.hidden = false;
  }
}

/** Says what is in a record: of a chunk its type and its words, of others what the server told. */
function summary({ kind, text }) {
  const type = kind === "chunk" ? /^\{"type":\s*"([^"]+)"/.exec(text)?.[1] : undefined;
  if (!type) return [text];
  const words = /"delta":\s*("(?:[^"\\]|\\.)*")/.exec(text)?.[1];
  return [h("span", { class: "log-type" }, `${type} `), words ? JSON.parse(words) : ""];
}

function clock(ms) {
  const date = new Date(ms);
  const two = (number) => String(number).padStart(2, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(ms % 1000).padStart(3, "0")}`;
}

function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
