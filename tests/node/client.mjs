// Follows streams with the JavaScript client, as a visitor who has the cookies that each operation is given.
import WebSocket from "ws";

import { StreamClient } from "./resumable_stream/client.js";
import { serve } from "./rpc.mjs";

const followed = new Map();

function connect({ base, prefix = "/api/chat", cookies, headers = {}, transports }) {
  class VisitorsSocket extends WebSocket {
    constructor(url, protocol) {
      super(url, protocol, { headers: { Cookie: cookies, Origin: base } });
    }
  }
  return new StreamClient({
    url: base + prefix,
    websocket: `${base}${prefix}/socket`,
    WebSocket: VisitorsSocket,
    headers: { ...headers, Cookie: cookies },
    transports,
    // What breaks here has broken by design, and is to be tried again at once.
    timing: { firstDelayMs: 5, longestDelayMs: 200, pollSeconds: 5 },
  });
}

/** Lets `begin(client, listeners)` follow something in the background, under a name. */
function watch(name, site, begin) {
  const client = connect(site);
  const seen = { events: [], ways: new Set(), openings: 0, wake: () => {} };
  const following = begin(client, {
    onChunk: (event) => {
      seen.events.push(event);
      seen.wake();
    },
    onChange: ({ state, transport }) => {
      if (state !== "open") return;
      seen.openings += 1;
      seen.ways.add(transport);
    },
  });
  followed.set(name, { client, following, seen });
}

const told = ({ seen }) => ({ events: seen.events, ways: [...seen.ways].sort(), openings: seen.openings });

await serve({
  async follow({ name, stream, from = null, live = false, ...site }) {
    watch(name, site, (client, listeners) => client.follow(stream, { from, live, ...listeners }));
  },
  async start({ name, body, ...site }) {
    watch(name, site, (client, listeners) => client.start(body, listeners));
  },
  // Waits until so many chunks have come.
  async has({ name, count }) {
    const { seen } = followed.get(name);
    while (seen.events.length < count) await new Promise((resolve) => (seen.wake = resolve));
  },
  async opened({ name }) {
    const { state, transport } = await followed.get(name).following.opened;
    return { state, transport };
  },
  // Waits for the end and tells everything; the client is closed then.
  async ended({ name }) {
    const one = followed.get(name);
    const end = await one.following.ended;
    one.client.close();
    return { end, ...told(one) };
  },
  async close({ name }) {
    const one = followed.get(name);
    one.client.close();
    await one.following.ended;
    return told(one);
  },
  // Changes from way to way after every few chunks, each on a client of its own.
  async relay({ stream, ways, every, ...site }) {
    const events = [];
    let cursor = 0;
    for (let turn = 0; ; turn += 1) {
      const client = connect({ ...site, transports: [ways[turn % ways.length]] });
      const following = client.follow(stream, { from: cursor });
      let count = 0;
      for await (const event of following) {
        events.push(event);
        count += 1;
        if (count === every) break;
      }
      const end = await following.ended;
      client.close();
      cursor = end.cursor;
      if (end.reason !== "closed") return { events, end, turns: turn + 1 };
    }
  },
  stop: ({ stream, ...site }) => connect(site).stop(stream),
});
