// Tabs of a chat page: TanStack AI's stock client in two versions, and AG-UI's stock agent.
// Argument: the path of our connection for TanStack AI, a file of the app's static files.
import { HttpAgent } from "@ag-ui/client";
import { HttpAgent as OldHttpAgent } from "ag-ui-client-0-0-59";
import { ChatClient, fetchHttpStream, fetchServerSentEvents, webSocket } from "@tanstack/ai-client";
import { ChatClient as OldChatClient } from "tanstack-ai-client-0-8";
import WebSocket from "ws";

import "./patience.mjs";
import { serve } from "./rpc.mjs";
import { Visitor } from "./visitor.mjs";

const { createConnection } = await import(process.argv[2]);

const visitors = new Map();
const tabs = new Map();

function ours(visitor, url, chat, options) {
  const live = { subscribeUrl: `${url}/replay?id=${chat}`, stopUrl: url };
  const { fetch, headers } = visitor;
  return createConnection({ sendUrl: url, body: { id: chat }, fetch, headers, ...live, ...options });
}

const native = (visitor) => ({ fetchClient: visitor.fetch, headers: visitor.headers() });

const CONNECTIONS = {
  live: (visitor, url, chat) => ours(visitor, url, chat, { mode: "session" }),
  response: (visitor, url, chat) => ours(visitor, url, chat, { subscribeUrl: undefined }),
  recovering: (visitor, url, chat) => ours(visitor, url, chat, {}),
  events: (visitor, url) => fetchServerSentEvents(url, () => native(visitor)),
  lines: (visitor, url) =>
    fetchHttpStream(url, () => {
      const { headers, ...rest } = native(visitor);
      return { ...rest, headers: { ...headers, Accept: "application/x-ndjson" } };
    }),
  socket: (visitor, url) => {
    const { origin } = new URL(url);
    class VisitorsSocket extends WebSocket {
      constructor(target) {
        // What is compressed cannot be cut at a number of bytes that is known before.
        super(target, { origin, headers: { Cookie: visitor.cookies() }, perMessageDeflate: false });
      }
    }
    return webSocket(`${url}/socket`.replace("http", "ws"), { WebSocketImpl: VisitorsSocket });
  },
};

// A tab of TanStack AI. What `useChat` adds to the client is React's state.
class Tab {
  problems = [];
  #watchers = new Set();

  constructor({ client, way, visitor: name, url, chat, messages, persistence }) {
    this.visitor = name;
    const changed = () => this.#changed();
    const visitor = visitors.get(name);
    let responded;
    const response = new Promise((resolve) => (responded = resolve));
    const fetch = (...request) => visitor.fetch(...request).finally(responded);
    const cookies = () => visitor.cookieHeader;
    this.connection = CONNECTIONS[way]({ fetch, headers: visitor.headers, cookies }, url, chat);
    const Client = client === "0.8" ? OldChatClient : ChatClient;
    this.client = new Client({
      id: chat,
      threadId: chat,
      connection: this.connection,
      initialMessages: messages,
      ...(persistence ? { persistence: true } : {}),
      onMessagesChange: changed,
      onRunIdChange: (runId) => (this.runId = runId ?? this.runId),
      onLoadingChange: changed,
      onStatusChange: changed,
      onErrorChange: changed,
      onSessionGeneratingChange: changed,
    });
    this.client.attach?.();
    if (way === "socket") this.client.subscribe();
    if (!["live", "recovering"].includes(way)) return;
    this.client.subscribe();
    this.subscribed = response;
  }

  get messages() {
    // Dates differ with every client.
    return this.client.getMessages().map(({ createdAt, ...message }) => message);
  }

  get text() {
    const last = this.messages.at(-1);
    const parts = last?.role === "assistant" ? last.parts : [];
    return parts.map((part) => (part.type === "text" ? part.content : "")).join("");
  }

  get isBusy() {
    return this.client.getIsLoading() || this.client.getSessionGenerating();
  }

  get state() {
    const { text, messages, problems } = this;
    const error = this.client.getError()?.message ?? null;
    return { status: this.client.getStatus(), text, messages, error, problems };
  }

  leave() {
    this.client.unsubscribe();
    this.client.dispose?.();
  }

  async becomes(condition) {
    if (condition(this)) return;
    await new Promise((resolve) => {
      const watch = () => {
        if (!condition(this)) return;
        this.#watchers.delete(watch);
        resolve();
      };
      this.#watchers.add(watch);
    });
  }

  #changed() {
    for (const watch of [...this.#watchers]) watch();
  }
}

class Agent {
  constructor({ visitor, url, chat, messages, isOld }) {
    this.agent = new (isOld ? OldHttpAgent : HttpAgent)({
      url,
      threadId: chat,
      headers: visitors.get(visitor).headers(),
      fetch: visitors.get(visitor).fetch,
      initialMessages: messages,
    });
  }
}

const agents = new Map();

await serve({
  async visit({ visitor, base }) {
    visitors.set(visitor, new Visitor());
    await visitors.get(visitor).fetch(`${base}/csrf`);
  },
  cookies: ({ visitor }) => visitors.get(visitor).cookies,
  // Closes all tabs of a visitor.
  depart({ visitor }) {
    for (const [name, tab] of tabs) {
      if (tab.visitor !== visitor) continue;
      tab.leave();
      tabs.delete(name);
    }
    visitors.delete(visitor);
  },

  // Opens a tab. Where it subscribes, the server has taken the subscription: the visitor has a session from then on.
  async open({ tab: name, ...options }) {
    const tab = new Tab(options);
    tabs.set(name, tab);
    await tab.subscribed;
  },
  send({ tab, text }) {
    const { client, problems } = tabs.get(tab);
    client.sendMessage(text).catch((error) => problems.push(error.stack));
  },
  reload: ({ tab }) => {
    const { client, problems } = tabs.get(tab);
    client.reload().catch((error) => problems.push(error.stack));
  },
  // Stops for everybody, as the connection offers it.
  stop: ({ tab }) => tabs.get(tab).connection.stop(),
  // Stops as the library itself does.
  halt: ({ tab }) => tabs.get(tab).client.stop(),
  // Closes the tab.
  leave: ({ tab }) => tabs.get(tab).leave(),
  // Subscribes anew, as a page does that was put aside.
  resubscribe: ({ tab }) => tabs.get(tab).client.subscribe({ restart: true }),
  // Reads the run that the tab is in, or was in, with a connection of another tab.
  async join({ tab, from }) {
    const found = [];
    for await (const chunk of tabs.get(tab).connection.joinRun(tabs.get(from).runId)) found.push(chunk);
    return found;
  },
  // Waits until the last answer holds `text`.
  shows: ({ tab, text }) => tabs.get(tab).becomes((it) => it.text.includes(text)),
  // Waits until nothing is going on, after `count` messages, and tells what the tab has.
  async settled({ tab: name, count }) {
    const tab = tabs.get(name);
    await tab.becomes((it) => !it.isBusy && it.messages.length >= count);
    return tab.state;
  },
  has: ({ tab, count }) => tabs.get(tab).becomes((it) => it.messages.length >= count),
  // Waits until an error is shown.
  async fails({ tab: name }) {
    const tab = tabs.get(name);
    await tab.becomes((it) => it.client.getError() !== undefined);
    return tab.state;
  },

  agent({ agent, ...options }) {
    agents.set(agent, new Agent(options));
  },
  // Leaves the run once its answer shows something.
  async abort({ agent: name }) {
    const { agent } = agents.get(name);
    const shows = () => agent.messages.at(-1)?.role === "assistant" && agent.messages.at(-1).content;
    while (!shows()) await new Promise((resolve) => setTimeout(resolve, 10));
    agent.abortRun();
  },
  // Runs to the end; `runId` names the run. Tells the events that came and the messages that they made.
  async run({ agent: name, text, runId }) {
    const { agent } = agents.get(name);
    if (text !== null) agent.addMessage({ id: crypto.randomUUID(), role: "user", content: text });
    const events = [];
    let error = null;
    const watcher = {
      onEvent: ({ event }) => void events.push(event.type),
      onRunErrorEvent: ({ event }) => void (error = event.message),
    };
    try {
      await agent.runAgent({ runId }, watcher);
    } catch (problem) {
      error = problem.message;
    }
    return { events, messages: agent.messages, error };
  },
});
