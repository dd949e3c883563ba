// Follows streams with the JavaScript client, on behalf of one visitor: under Node (`client.mjs`), and in a page.
import { StreamClient } from "./resumable_stream/client.js";

// What breaks here has broken by design, and is to be tried again at once.
const timing = { firstDelayMs: 5, longestDelayMs: 200, pollSeconds: 5 };
const followed = new Map();
let site;

/** Says where to go from now on, in the client's own options. */
export function visit(options) {
  site = { ...options, timing };
}

export function follow({ name, stream, ways, from = null, live = false }) {
  watch(name, ways, (client, listeners) => client.follow(stream, { from, live, ...listeners }));
}

export function start({ name, body, ways }) {
  watch(name, ways, (client, listeners) => client.start(body, listeners));
}

export function stop({ stream }) {
  return new StreamClient(site).stop(stream);
}

/** Waits until so many chunks have come. */
export async function has({ name, count }) {
  const { seen } = followed.get(name);
  while (seen.events.length < count) await new Promise((resolve) => (seen.wake = resolve));
}

export async function opened({ name }) {
  const { state, transport } = await followed.get(name).following.opened;
  return { state, transport };
}

/** Waits for the end and tells everything; the client is closed then. */
export async function ended({ name }) {
  const one = followed.get(name);
  const end = await one.following.ended;
  one.client.close();
  return { end, ...told(one) };
}

export async function close({ name }) {
  const one = followed.get(name);
  one.client.close();
  await one.following.ended;
  return told(one);
}

/** Changes from way to way after every few chunks, each on a client of its own. */
export async function relay({ stream, ways, every }) {
  const events = [];
  let cursor = 0;
  for (let turn = 0; ; turn += 1) {
    const client = new StreamClient({ ...site, transports: [ways[turn % ways.length]] });
    const following = client.follow(stream, { from: cursor });
    let count = 0;
    for await (const event of following) {
      events.push(event);
      count += 1;
      if (count === every) break;
    }
    const end = await following.ended;
    client.close();
    // Of what was left after so many chunks the end may have come already; the chunks before it have not been taken.
    if (count < every) return { events, end, turns: turn + 1 };
    cursor = following.cursor;
  }
}

/** Lets `begin(client, listeners)` follow something in the background, under a name. */
function watch(name, ways, begin) {
  const client = new StreamClient({ ...site, transports: ways });
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

function told({ seen }) {
  return { events: seen.events, ways: [...seen.ways].sort(), openings: seen.openings };
}
