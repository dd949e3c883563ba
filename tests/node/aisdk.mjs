// Tabs of a chat page: the stock chat class and transport of the AI SDK, in the version named by the first argument.
// What `useChat` adds is React's state; here it is the smallest state that the class takes.
import { ResumableChatTransport } from "./resumable_stream/aisdk.js";
import { serve } from "./rpc.mjs";
import { Visitor } from "./visitor.mjs";
import { WebSocket } from "ws";

const { AbstractChat, DefaultChatTransport, WebSocketChatTransport } = await import(process.argv[2]);

class State {
  #fields = { status: "ready", error: undefined, messages: [] };
  #watchers = new Set();

  constructor(messages) {
    this.#fields.messages = messages;
  }

  get status() { return this.#fields.status; }
  set status(status) { this.#set({ status }); }
  get error() { return this.#fields.error; }
  set error(error) { this.#set({ error }); }
  get messages() { return this.#fields.messages; }
  set messages(messages) { this.#set({ messages }); }

  pushMessage = (message) => this.#set({ messages: [...this.messages, message] });
  popMessage = () => this.#set({ messages: this.messages.slice(0, -1) });
  replaceMessage = (index, message) =>
    this.#set({ messages: this.messages.with(index, this.snapshot(message)) });
  snapshot = (thing) => structuredClone(thing);

  // Resolves as soon as `condition` holds.
  async becomes(condition) {
    if (condition()) return;
    await new Promise((resolve) => {
      const watch = () => {
        if (!condition()) return;
        this.#watchers.delete(watch);
        resolve();
      };
      this.#watchers.add(watch);
    });
  }

  #set(fields) {
    Object.assign(this.#fields, fields);
    for (const watch of [...this.#watchers]) watch();
  }
}

class Chat extends AbstractChat {
  constructor({ messages, ...init }) {
    super({ ...init, state: new State(messages) });
  }

  becomes(condition) {
    return this.state.becomes(condition);
  }
}

// Options of a transport, as a manual has them.
const optionsOf = (text) => new Function(`return {${text ?? ""}}`)();

const visitors = new Map();
const tabs = new Map();

function textOf(message) {
  const parts = message?.role === "assistant" ? message.parts : [];
  return parts.map((part) => (part.type === "text" ? part.text : "")).join("");
}

function stateOf({ chat, problems }) {
  const { status, messages, error } = chat;
  return { status, messages, error: error ? error.message : null, problems };
}

// A browser sends its cookies and the page's origin with the handshake; a socket in Node has to be told.
function socketTransport(url, visitor, tab) {
  const webSocket = class extends WebSocket {
    constructor(to, protocols) {
      super(to, protocols, { headers: { cookie: visitor.cookieHeader }, origin: new URL(url).origin });
      this.addEventListener("message", () => tab.responded());
    }
  };
  return new WebSocketChatTransport({ url, webSocket });
}

function run(name, request) {
  const tab = tabs.get(name);
  tab.response = new Promise((resolve) => (tab.responded = resolve));
  tab.running = request(tab.chat)
    .catch((error) => tab.problems.push(error.stack))
    .finally(tab.responded);
}

await serve({
  async visit({ visitor, base }) {
    visitors.set(visitor, new Visitor());
    await visitors.get(visitor).fetch(`${base}/csrf`);
  },
  cookies: ({ visitor }) => visitors.get(visitor).cookies,

  open({ tab: name, visitor, api, id, messages, way, queues, options }) {
    const tab = { problems: [], running: Promise.resolve() };
    const fetch = async (...request) => {
      if (tab.isOffline) throw new TypeError("fetch failed");
      const response = await visitors.get(visitor).fetch(...request);
      tab.responded();
      return response;
    };
    const init = { api, fetch, headers: visitors.get(visitor).headers, ...optionsOf(options) };
    const transports = {
      stock: () => new DefaultChatTransport(init),
      socket: () => socketTransport(`${api}/socket/aisdk`, visitors.get(visitor), tab),
      resumable: () => new ResumableChatTransport(init),
    };
    tab.transport = transports[way]();
    tab.chat = new Chat({ id, transport: tab.transport, messages, experimental_queue: queues });
    tabs.set(name, tab);
  },
  send: ({ tab, text, messageId, body }) => run(tab, (chat) => chat.sendMessage({ text, messageId }, { body })),
  regenerate: ({ tab, messageId }) => run(tab, (chat) => chat.regenerate({ messageId })),
  // Send in the middle of an answer, which ends the request of that one.
  sendNow: ({ tab, text }) =>
    run(tab, async (chat) => {
      await chat.sendMessage({ text });
      await chat.experimental_sendQueuedMessageNow(chat.experimental_queuedMessages[0].id);
    }),
  goOffline: ({ tab, isOffline }) => {
    tabs.get(tab).isOffline = isOffline;
  },
  // What pages do to delete a message.
  forget({ tab, ids }) {
    const { chat } = tabs.get(tab);
    chat.messages = chat.messages.filter(({ id }) => !ids.includes(id));
  },
  // What a client adds to a tool call of the last answer, and the request that has it continued.
  putOutput: ({ tab, toolCallId, output }) => {
    const { chat } = tabs.get(tab);
    return (chat.addToolOutput ?? chat.addToolResult)({ tool: "ask", toolCallId, output });
  },
  approve: ({ tab, id }) => tabs.get(tab).chat.addToolApprovalResponse({ id, approved: true }),
  continue: ({ tab }) => run(tab, (chat) => chat.sendMessage()),
  resume: ({ tab }) => run(tab, (chat) => chat.resumeStream()),
  // Returns when the response has been left: until then, the chat would take another request for the one that ends.
  async stop({ tab: name }) {
    const tab = tabs.get(name);
    await tab.chat.stop();
    await tab.running;
  },

  // Stops the answer on the server, as our own transport does.
  stopAnswer({ tab: name }) {
    const { transport, chat } = tabs.get(name);
    return transport.stop(chat.id);
  },

  // Waits until the server has answered the running request, be it with a stream.
  async responds({ tab }) {
    await tabs.get(tab).response;
  },
  // Waits until the last answer holds `text`.
  async shows({ tab, text }) {
    const { chat } = tabs.get(tab);
    await chat.becomes(() => textOf(chat.lastMessage).includes(text));
  },
  // Waits until the running request is over, and tells what the tab has.
  async settled({ tab }) {
    await tabs.get(tab).running;
    return stateOf(tabs.get(tab));
  },
});
