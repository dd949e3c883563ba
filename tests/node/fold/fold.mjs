// What the stock client makes of chunks. The package is named by the first argument ("ai5", "ai6", "ai7"); the chunks
// come through its own transport out of an event stream, as from a server.
import { serve } from "../rpc.mjs";

const { AbstractChat, DefaultChatTransport, asSchema, parsePartialJson, uiMessageChunkSchema } = await import(
  process.argv[2]
);

// The state that `useChat` keeps, without React: a message that is replaced is copied, one that is added is not.
class State {
  status = "ready";
  error = undefined;

  constructor(messages) {
    this.messages = messages;
  }

  pushMessage = (message) => { this.messages = [...this.messages, message]; };
  popMessage = () => { this.messages = this.messages.slice(0, -1); };
  replaceMessage = (index, message) => { this.messages = this.messages.with(index, this.snapshot(message)); };
  snapshot = (thing) => structuredClone(thing);
}

class Chat extends AbstractChat {
  constructor({ messages, ...init }) {
    super({ ...init, state: new State(messages) });
  }
}

function eventStream(chunks) {
  const body = chunks.map((chunk) => `data: ${chunk}\n\n`).join("");
  return new Response(body, { headers: { "content-type": "text/event-stream" } });
}

async function run(chat, { kind, message, messageId }) {
  switch (kind) {
    case "send": return chat.sendMessage(message);
    case "edit": return chat.sendMessage({ ...message, messageId });
    case "continue": return chat.sendMessage();
    case "regenerate": return chat.regenerate({ messageId });
    case "resume": return chat.resumeStream();
    case "output": return chat.addToolOutput(message);
    case "respond": return chat.addToolApprovalResponse(message);
  }
  throw new Error(`unknown kind of step: ${kind}`);
}

const chunkSchema = asSchema(typeof uiMessageChunkSchema === "function" ? uiMessageChunkSchema() : uiMessageChunkSchema);

await serve({
  // Plays the steps of a chat, each answered by its chunks, and tells the messages after the last.
  async chat({ messages, steps }) {
    let chunks;
    const requests = [];
    const fetch = async (_url, { body } = {}) => {
      if (body) requests.push(JSON.parse(body));
      return eventStream(chunks);
    };
    const transport = new DefaultChatTransport({ api: "http://127.0.0.1/api/chat", fetch });
    const chat = new Chat({ id: "chat", messages, transport });
    const statuses = [];
    for (const step of steps) {
      chunks = step.chunks;
      await run(chat, step);
      statuses.push(chat.status);
    }
    return { messages: chat.messages, statuses, error: chat.error?.message, requests };
  },

  // Tells which chunks the client takes.
  async takes({ chunks }) {
    const results = await Promise.all(chunks.map((chunk) => chunkSchema.validate(chunk)));
    return results.map(({ success }) => success);
  },

  // Parses texts that break off.
  async partial({ texts }) {
    return Promise.all(texts.map(async (text) => {
      const { value } = await parsePartialJson(text);
      return value === undefined ? {} : { value };
    }));
  },
});
