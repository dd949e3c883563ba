/** Shows the messages of a chat; keeps what is on the page and changes only what differs. */

import { copyButton, h, icon, setText } from "./dom.js";
import { messageText, toolName } from "./fold.js";
import { StreamingMarkdown } from "./markdown.js";

const END_TEXTS = {
  stopped: "This answer was stopped.",
  failed: "This answer failed.",
  interrupted: "This answer was interrupted: the server writing it went away.",
};

export class MessageList {
  #views = new Map();

  /** `actions`: `retry()`. */
  constructor(element, actions) {
    this.element = element;
    this.actions = actions;
  }

  /** Shows a chat; `note` is what there is to say below its last message. */
  render(chat, note) {
    const messages = [...chat.messages];
    if (chat.answer) this.#insertAnswer(messages, chat.answer.message);
    else if (chat.isBusy) messages.push(WAITING);
    if (chat.unsent) messages.push(chat.unsent.message);
    const views = messages.map((message, index) => {
      const isLast = index === messages.length - 1;
      const view = this.#view(message);
      view.update(message, this.#facts(chat, message, isLast, note));
      return view;
    });
    this.#show(views);
  }

  #insertAnswer(messages, answer) {
    const known = messages.findIndex((message) => message.id === answer.id);
    if (known < 0) messages.push(answer);
    else messages[known] = answer;
  }

  #facts(chat, message, isLast, note) {
    const isRunning = message === WAITING || message === chat.answer?.message;
    const { end, text } = chat.ends.get(message.id) ?? {};
    const unsent = chat.unsent?.message === message ? chat.unsent.text : "";
    return { isRunning, end, text, unsent, canRetry: isLast && !chat.isBusy, note: isLast ? note : "" };
  }

  #view(message) {
    // The answer we wait for has no id yet: it takes over the place of the one that stands for it.
    const waiting = this.#views.get(WAITING.id);
    if (waiting && message.role === "assistant" && !this.#views.has(message.id)) {
      this.#views.delete(WAITING.id);
      this.#views.set(message.id, waiting);
    }
    if (!this.#views.has(message.id)) this.#views.set(message.id, this.#make(message));
    return this.#views.get(message.id);
  }

  #make(message) {
    return message.role === "user" ? new UserView(this.actions) : new AnswerView(this.actions);
  }

  #show(views) {
    const wanted = new Set(views);
    for (const [id, view] of this.#views) {
      if (wanted.has(view)) continue;
      view.element.remove();
      this.#views.delete(id);
    }
    views.forEach(({ element }, index) => {
      const present = this.element.children[index];
      if (present !== element) this.element.insertBefore(element, present ?? null);
    });
  }
}

const WAITING = { id: "", role: "assistant", parts: [] };

class UserView {
  constructor(actions) {
    this.text = h("div", { class: "bubble" });
    this.foot = new Footer(actions);
    this.element = h("article", { class: "message user", "aria-label": "You" }, this.text, this.foot.element);
  }

  update(message, { unsent, canRetry }) {
    setText(this.text, messageText(message));
    this.element.dataset.state = unsent ? "unsent" : "sent";
    this.foot.update({ badge: unsent ? { kind: "failed", text: `Not sent: ${unsent}` } : null, retry: unsent && canRetry });
  }
}

class AnswerView {
  #parts = [];

  constructor(actions) {
    this.message = null;
    this.body = h("div", { class: "parts" });
    this.foot = new Footer(actions, () => messageText(this.message));
    this.element = h("article", { class: "message assistant", "aria-label": "Answer" }, this.body, this.foot.element);
  }

  update(message, { isRunning, end, text, canRetry, note }) {
    this.message = message;
    this.element.dataset.state = isRunning ? "running" : (end ?? "finished");
    this.element.setAttribute("aria-busy", String(isRunning));
    const shown = shownParts(message.parts);
    shown.forEach((part, index) => this.#part(part, index).update(part, isRunning && index === shown.length - 1));
    for (const extra of this.#parts.splice(shown.length)) extra.element.remove();
    this.foot.update({
      badge: endBadge(end, text),
      note: isRunning ? note || (shown.length ? "" : "Waiting for the first word…") : "",
      retry: canRetry && !isRunning,
      copy: !isRunning && shown.some((part) => part.type === "text"),
    });
  }

  #part(part, index) {
    const Wanted = viewClass(part);
    if (this.#parts[index] instanceof Wanted) return this.#parts[index];
    for (const wrong of this.#parts.splice(index)) wrong.element.remove();
    this.#parts[index] = new Wanted();
    this.body.append(this.#parts[index].element);
    return this.#parts[index];
  }
}

function endBadge(end, text) {
  if (!Object.hasOwn(END_TEXTS, end ?? "")) return null;
  // What the stream said about a failure is more than we know; an interruption is told in our own words.
  return { kind: end, text: end === "failed" && text ? text : END_TEXTS[end] };
}

/** Returns the parts that people see; sources that follow each other make one part. */
function shownParts(parts) {
  const shown = [];
  for (const part of parts) {
    const isSource = part.type.startsWith("source-");
    if (isSource && shown.at(-1)?.sources) shown.at(-1).sources.push(part);
    else if (isSource) shown.push({ type: "sources", sources: [part] });
    else if (viewClass(part)) shown.push(part);
  }
  return shown;
}

function viewClass(part) {
  if (Object.hasOwn(VIEWS, part.type)) return VIEWS[part.type];
  return toolName(part) === null ? null : ToolView;
}

class TextView {
  constructor() {
    this.element = h("div", { class: "markdown" });
    this.markdown = new StreamingMarkdown(this.element);
  }

  update({ text, state }, isGrowing) {
    this.markdown.update(text, !isGrowing || state === "done");
  }
}

class ReasoningView {
  constructor() {
    this.label = h("span", {}, "Reasoning");
    this.content = h("div", { class: "fold-body markdown" });
    this.markdown = new StreamingMarkdown(this.content);
    this.element = h("details", { class: "fold reasoning" }, h("summary", {}, icon("thought"), this.label), this.content);
  }

  update({ text, state }, isGrowing) {
    const isRunning = isGrowing && state !== "done";
    this.element.classList.toggle("is-running", isRunning);
    setText(this.label, isRunning ? "Thinking" : "Reasoning");
    this.markdown.update(text, !isRunning);
  }
}

const TOOL_STATES = {
  "input-streaming": "is being called",
  "input-available": "running",
  "output-available": "done",
  "output-error": "failed",
  "output-denied": "denied",
  "approval-requested": "waits for approval",
};

class ToolView {
  constructor() {
    this.name = h("code", {});
    this.state = h("span", { class: "tool-state" });
    this.content = h("div", { class: "fold-body" });
    const summary = h("summary", {}, icon("tool"), this.name, this.state);
    this.element = h("details", { class: "fold tool" }, summary, this.content);
  }

  update(part, isLast) {
    const isRunning = isLast && /^input-/.test(part.state);
    this.element.dataset.state = part.state;
    this.element.classList.toggle("is-running", isRunning);
    setText(this.name, part.title || toolName(part));
    setText(this.state, TOOL_STATES[part.state] ?? part.state);
    this.#showData("Input", part.input ?? part.inputText);
    this.#showData("Output", part.output);
    this.#showData("Error", part.errorText);
  }

  #showData(label, value) {
    if (value === undefined || value === null || value === "") return;
    const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
    const present = this.content.querySelector(`[data-label="${label}"]`);
    const pre = present ?? h("pre", { "data-label": label, tabIndex: 0 });
    setText(pre, text);
    if (!present) this.content.append(h("div", { class: "fold-label" }, label), pre);
  }
}

class FileView {
  constructor() {
    this.element = h("p", { class: "file" });
  }

  update({ filename, mediaType }) {
    setText(this.element, `Attached file: ${filename ?? mediaType}`);
  }
}

class SourcesView {
  constructor() {
    this.element = h("ul", { class: "sources", "aria-label": "Sources" });
  }

  update({ sources }) {
    for (const source of sources.slice(this.element.childElementCount)) {
      this.element.append(h("li", {}, sourceElement(source)));
    }
  }
}

function sourceElement({ type, url, title, filename }) {
  const label = title || filename || url;
  if (type !== "source-url" || !/^https?:/.test(url)) {
    return h("span", { class: "source", title: filename }, icon("source"), label);
  }
  return h("a", { class: "source", href: url, target: "_blank", rel: "noopener noreferrer" }, icon("source"), label);
}

const VIEWS = { text: TextView, reasoning: ReasoningView, file: FileView, sources: SourcesView };

/** The line below a message: what became of it, and what can be done. Its place is kept free, so nothing jumps. */
class Footer {
  constructor(actions, text) {
    this.badge = h("span", { class: "badge", hidden: true });
    this.note = h("span", { class: "note", hidden: true });
    this.copy = text ? copyButton("Copy answer", text) : null;
    this.retry = h("button", { type: "button", class: "quiet-button retry" }, icon("retry"), "Retry");
    this.retry.addEventListener("click", () => actions.retry());
    this.element = h("footer", { class: "message-foot" }, this.badge, this.note, this.copy, this.retry);
  }

  update({ badge = null, note = "", retry = false, copy = false }) {
    this.badge.hidden = badge === null;
    if (badge) {
      this.badge.dataset.kind = badge.kind;
      setText(this.badge, badge.text);
    }
    this.note.hidden = !note;
    setText(this.note, note);
    this.retry.hidden = !retry;
    if (this.copy) this.copy.hidden = !copy;
  }
}
