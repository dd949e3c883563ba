/**
 * Folds the chunks of one answer into a message, in the shape that the AI SDK calls UIMessage.
 * https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol
 */

export class Answer {
  #open = new Map();
  #tools = new Map();
  #data = new Map();

  constructor(id) {
    this.message = { id, role: "assistant", parts: [] };
    /** How the stream says that the answer ended: "finished", "stopped", "failed", or null while it runs. */
    this.end = null;
    this.errorText = "";
  }

  /** Takes the next chunk. Types it does not know change nothing: they may be newer than this page. */
  apply(chunk) {
    const type = chunk?.type;
    if (typeof type !== "string") return;
    if (Object.hasOwn(CHANGES, type)) CHANGES[type](this, chunk);
    else if (type.startsWith("data-") && !chunk.transient) this.#putData(chunk);
  }

  add(part, chunk) {
    this.message.parts.push(part);
    if (chunk?.id !== undefined) this.#open.set(`${part.type}:${chunk.id}`, part);
    return part;
  }

  /** The open text or reasoning part a chunk belongs to; made if its start was never seen. */
  opened(type, chunk) {
    return this.#open.get(`${type}:${chunk.id}`) ?? this.add({ type, text: "", state: "streaming" }, chunk);
  }

  closeAll() {
    for (const part of this.#open.values()) part.state = "done";
    this.#open.clear();
  }

  close(type, chunk) {
    this.opened(type, chunk).state = "done";
    this.#open.delete(`${type}:${chunk.id}`);
  }

  tool(chunk) {
    const known = this.#tools.get(chunk.toolCallId);
    if (known) return known;
    const { toolCallId, toolName = "tool", title } = chunk;
    const part = { type: chunk.dynamic ? "dynamic-tool" : `tool-${toolName}`, toolName, toolCallId, title, inputText: "" };
    this.#tools.set(toolCallId, part);
    return this.add(part);
  }

  finish(end, errorText = "") {
    this.closeAll();
    this.end = end;
    this.errorText = errorText;
  }

  #putData(chunk) {
    const { type, id, data } = chunk;
    const known = id === undefined ? undefined : this.#data.get(`${type}:${id}`);
    const part = known ?? this.add({ type, id });
    part.data = data;
    if (id !== undefined) this.#data.set(`${type}:${id}`, part);
  }
}

const start = (type) => (answer, chunk) => answer.add({ type, text: "", state: "streaming" }, chunk);
const grow = (type) => (answer, chunk) => {
  answer.opened(type, chunk).text += chunk.delta;
};
const close = (type) => (answer, chunk) => answer.close(type, chunk);
const tool =
  (state, ...fields) =>
  (answer, chunk) => {
    const part = Object.assign(answer.tool(chunk), { state });
    for (const field of fields) if (chunk[field] !== undefined) part[field] = chunk[field];
  };
const put = (answer, chunk) => answer.add({ ...chunk });

const CHANGES = {
  "text-start": start("text"),
  "text-delta": grow("text"),
  "text-end": close("text"),
  "reasoning-start": start("reasoning"),
  "reasoning-delta": grow("reasoning"),
  "reasoning-end": close("reasoning"),
  "tool-input-start": tool("input-streaming"),
  "tool-input-delta": (answer, chunk) => {
    answer.tool(chunk).inputText += chunk.inputTextDelta;
  },
  "tool-input-available": tool("input-available", "input"),
  "tool-input-error": tool("output-error", "input", "errorText"),
  "tool-output-available": tool("output-available", "output"),
  "tool-output-error": tool("output-error", "errorText"),
  "tool-approval-request": tool("approval-requested"),
  "tool-output-denied": tool("output-denied"),
  "source-url": put,
  "source-document": put,
  file: put,
  "start-step": (answer) => answer.add({ type: "step-start" }),
  "finish-step": (answer) => answer.closeAll(),
  finish: (answer) => answer.finish("finished"),
  abort: (answer) => answer.finish("stopped"),
  error: (answer, chunk) => answer.finish("failed", chunk.errorText),
};

/** The name of the tool a part is about, or null if it is about none. */
export function toolName(part) {
  if (part.type === "dynamic-tool") return part.toolName;
  return part.type.startsWith("tool-") ? part.type.slice("tool-".length) : null;
}

export function messageText(message) {
  return message.parts
    .filter((part) => part.type === "text")
    .map((part) => part.text)
    .join("\n\n");
}
