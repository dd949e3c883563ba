// What our connection for TanStack AI asks for, and what it makes of the answers.
import assert from "node:assert/strict";
import { test } from "node:test";

import { ConnectionError, createConnection } from "./resumable_stream/tanstack.js";

const frame = (id, chunk) => `${id === undefined ? "" : `id: ${id}\n`}data: ${JSON.stringify(chunk)}\n\n`;
const text = (delta) => ({ type: "TEXT_MESSAGE_CONTENT", messageId: "m", delta });
const started = { type: "RUN_STARTED", runId: "r" };
const finished = { type: "RUN_FINISHED", runId: "r" };

// A body of these pieces that ends, breaks, or stays open until it is left.
function stream(pieces, { breaks = false, stays = false } = {}) {
  const source = pieces.map((piece) => (typeof piece === "string" ? new TextEncoder().encode(piece) : piece));
  return new ReadableStream({
    pull(controller) {
      if (source.length) controller.enqueue(source.shift());
      else if (breaks) controller.error(new TypeError("terminated"));
      else if (!stays) controller.close();
    },
  });
}

const events = (pieces, options) => new Response(stream(pieces, options));
const refusal = (status, text, headers) =>
  new Response(text, { status, headers: { "Content-Type": "text/plain; charset=utf-8", ...headers } });

// A server that gives these answers, one for each request.
function serve(...answers) {
  const requests = [];
  const fetch = async (url, init) => {
    const body = init.body === undefined ? undefined : JSON.parse(init.body);
    requests.push({ url, method: init.method, body, headers: Object.fromEntries(init.headers), credentials: init.credentials });
    const answer = answers.shift() ?? refusal(410, "There are no more answers.");
    if (answer instanceof Error) throw answer;
    return answer;
  };
  return { fetch, requests };
}

const session = (server, options) =>
  createConnection({
    mode: "session",
    sendUrl: "/chat",
    subscribeUrl: "/chat/replay?id=c",
    body: { id: "c" },
    fetch: server.fetch,
    ...options,
  });

async function take(chunks, count = Infinity) {
  const found = [];
  for await (const chunk of chunks) {
    found.push(chunk);
    if (found.length === count) break;
  }
  return found;
}

const urls = (server) => server.requests.map((request) => request.url);

test("a subscription goes on with its cursor wherever it broke", async () => {
  const server = serve(
    events([frame(1, started), frame(2, text("a")), "id: 3\ndata: {"], { breaks: true }),
    new TypeError("fetch failed"),
    events([frame(3, text("b"))]),
    events([frame(4, finished)], { stays: true }),
  );

  assert.deepEqual(await take(session(server).subscribe(), 4), [started, text("a"), text("b"), finished]);
  const resumed = (cursor) => `/chat/replay?id=c&from=${cursor}`;
  assert.deepEqual(urls(server), ["/chat/replay?id=c", resumed(2), resumed(2), resumed(3)]);
});

test("a chunk that nobody took comes again, and a new subscription begins anew", async () => {
  const server = serve(events([frame(1, started)], { stays: true }), events([frame(1, started)], { stays: true }));
  const connection = session(server);
  await take(connection.subscribe(), 1);
  await take(connection.subscribe(), 1);

  // The client waits for the end of a run that it has seen begin.
  assert.deepEqual(urls(server), ["/chat/replay?id=c", "/chat/replay?id=c&run=r"]);
});

test("a run that was sent and has ended is waited for no longer", async () => {
  const ended = events([frame(1, finished), frame(2, { type: "CUSTOM" })], { stays: true });
  const server = serve(new Response(null, { status: 202 }), ended, events([frame(2, started)], { stays: true }));
  const connection = session(server);
  await connection.send([], {}, undefined, { runId: "r" });
  await take(connection.subscribe(), 2);
  await take(connection.subscribe(), 1);

  assert.deepEqual(urls(server), ["/chat", "/chat/replay?id=c&run=r", "/chat/replay?id=c"]);
});

test("the URL may be a function of the cursor, and the rest of it stays", async () => {
  const cursors = [];
  const subscribeUrl = (cursor) => {
    cursors.push(cursor);
    return "/r?id=c&from=0#x";
  };
  const server = serve(events([frame(7, started)]), events([frame(8, finished)]));
  await take(session(server, { subscribeUrl }).subscribe(), 2);

  assert.deepEqual(cursors, [undefined, "7"]);
  assert.deepEqual(urls(server), ["/r?id=c&from=0#x", "/r?id=c&from=7#x"]);
});

test("events are read as browsers read them", async () => {
  const wire = `\uFEFF: hello\r\nretry: 5\r\n\r\nid: 1\r\ndata: ${JSON.stringify(started)}\r\n\r\nid:2\ndata:{"type":\ndata:"X"}\n\n`;
  const more = `data: no JSON\n\ndata: 5\n\nevent: y\rid: x\rdata: {"type":"Y"}\r\rid: 4\ndata: ${JSON.stringify(finished)}\n\ndata: {"type":"half"`;
  const bytes = new TextEncoder().encode(wire + more.replace("no JSON", "né JSON"));
  const single = Array.from(bytes, (byte) => Uint8Array.of(byte));
  const server = serve(events(single), events([frame(9, started)]));

  const found = await take(session(server).subscribe(), 5);

  assert.deepEqual(found, [started, { type: "X" }, { type: "Y" }, finished, started]);
  assert.equal(urls(server)[1], "/chat/replay?id=c&from=4");
});

for (const [status, isPermanent] of [[400, true], [404, true], [410, true], [408, false], [429, false], [503, false]]) {
  test(`${status} ${isPermanent ? "ends" : "does not end"} a subscription`, async () => {
    const server = serve(refusal(status, "No."), events([frame(1, started)], { stays: true }));
    const subscribed = take(session(server).subscribe(), 1);

    if (isPermanent) await assert.rejects(subscribed, (error) => error instanceof ConnectionError && error.status === status);
    else assert.deepEqual(await subscribed, [started]);
  });
}

test("204 ends a subscription, and so does leaving it", async () => {
  assert.deepEqual(await take(session(serve(new Response(null, { status: 204 }))).subscribe()), []);

  const leaving = new AbortController();
  const server = serve(events([frame(1, started)], { stays: true }));
  const found = [];
  for await (const chunk of session(server).subscribe(leaving.signal)) {
    found.push(chunk);
    leaving.abort();
    break;
  }
  assert.deepEqual(found, [started]);
  assert.deepEqual(await take(session(serve()).subscribe(AbortSignal.abort())), []);
});

test("what is sent says who sends it, and is refused in words for people", async () => {
  const server = serve(new Response(null, { status: 202 }), refusal(409, "Busy.\n"), refusal(502, "<h1>", { "Content-Type": "text/html" }));
  const headers = async () => ({ "X-CSRFToken": "t" });
  const connection = session(server, { headers, body: async () => ({ id: "c" }), credentials: "include" });
  const context = { runId: "r", headers: { "X-Key": "k" } };
  await connection.send([{ role: "user" }], { more: 1 }, undefined, context);

  const [{ headers: sent, ...request }] = server.requests;
  const body = { messages: [{ role: "user" }], data: { more: 1 }, runId: "r", id: "c" };
  assert.deepEqual(request, { url: "/chat", method: "POST", body, credentials: "include" });
  assert.deepEqual(sent, { "content-type": "application/json", "x-csrftoken": "t", "x-key": "k" });
  await assert.rejects(connection.send([]), { message: "Busy.", status: 409 });
  await assert.rejects(connection.send([]), { message: "HTTP 502", status: 502 });
});

const arrivals = {
  answered: () => events([frame(1, started)], { stays: true }),
  refused: () => refusal(503, "Later."),
};
for (const [outcome, answer] of Object.entries(arrivals)) {
  test(`nothing is sent in the name of who has just arrived before they are ${outcome}`, async () => {
    const methods = [];
    let arrive;
    const arrival = new Promise((resolve) => (arrive = resolve));
    const fetch = async (_url, { method }) => {
      methods.push(method);
      if (method === "POST") return new Response(null, { status: 202 });
      await arrival;
      return answer();
    };
    const connection = session({ fetch });
    const leaving = new AbortController();
    const subscribed = connection.subscribe(leaving.signal).next();
    const sent = connection.send([], {}, undefined, { runId: "r" });
    await new Promise((resolve) => setTimeout(resolve));
    assert.deepEqual(methods, ["GET"]);

    arrive();
    await sent;
    leaving.abort();
    await subscribed;
    assert.equal(methods.includes("POST"), true);
  });
}

test("a stop tells whether anything ran", async () => {
  const server = serve(new Response(null, { status: 202 }), new Response(null, { status: 204 }), refusal(404, "No."));
  const connection = session(server, { stopUrl: "/stop" });

  assert.deepEqual([await connection.stop(), await connection.stop()], [true, false]);
  assert.deepEqual(server.requests[0].body, { messages: [], id: "c" });
  assert.deepEqual([server.requests[0].url, server.requests[0].method], ["/stop", "DELETE"]);
  await assert.rejects(connection.stop(), { message: "No." });
});

const single = (server, options) => createConnection({ sendUrl: "/chat", body: { id: "c" }, fetch: server.fetch, ...options });

test("a run goes on where its response broke, as the same request", async () => {
  const server = serve(
    new TypeError("fetch failed"),
    events([frame(1, started), frame(2, text("a"))], { breaks: true }),
    events([frame(3, finished)], { breaks: true }),
    events([frame(undefined, finished)]),
  );

  const found = await take(single(server).connect([], {}));

  // The end is told again to who asks for more; there is one.
  assert.deepEqual(found, [started, text("a"), finished]);
  assert.deepEqual(server.requests.map((request) => request.headers["last-event-id"]), [undefined, undefined, "2", "3"]);
  assert.equal(new Set(server.requests.map((request) => request.body.runId)).size, 1);
});

test("a run of several rounds ends with its body", async () => {
  const server = serve(events([finished, started, finished].map((chunk, index) => frame(index + 1, chunk))));

  assert.equal((await take(single(server).connect([]))).length, 3);
});

test("a server that leaves the chunks to another request says that there are none", async () => {
  const server = serve(new Response(null, { status: 202 }));

  const [chunk] = await take(single(server).connect([], {}, undefined, { runId: "r", threadId: "t" }));

  assert.deepEqual([chunk.type, chunk.runId, chunk.threadId], ["RUN_FINISHED", "r", "t"]);
});

test("a page that is loaded in mid-answer finds the run, and then what is sent", async () => {
  const server = serve(
    events([frame(1, started), frame(2, finished)]),
    new Response(null, { status: 202 }),
    events([frame(4, text("b")), frame(5, finished)]),
  );
  const connection = single(server, { subscribeUrl: "/chat/replay?id=c" });
  const chunks = connection.subscribe();

  assert.deepEqual(await take({ [Symbol.asyncIterator]: () => ({ next: () => chunks.next() }) }, 2), [started, finished]);
  const sending = connection.send([], {}, undefined, { runId: "r" });
  assert.deepEqual([(await chunks.next()).value, (await chunks.next()).value], [text("b"), finished]);
  await sending;
  await chunks.return();
});

test("a run that is sent while another one is still looked for comes once", async () => {
  const pending = [];
  const fetch = (_url, { method, signal }) =>
    new Promise((resolve, reject) => {
      signal?.addEventListener("abort", () => reject(signal.reason));
      pending.push({ method, resolve });
    });
  const request = async () => {
    while (!pending.length) await new Promise((resolve) => setTimeout(resolve));
    return pending.shift();
  };
  const connection = single({ fetch }, { subscribeUrl: "/chat/replay?id=c" });
  const leaving = new AbortController();
  const chunks = connection.subscribe(leaving.signal);
  const first = chunks.next();
  (await request()).resolve(refusal(503, "Later."));
  const search = await request();
  const sending = connection.send([], {}, undefined, { runId: "r" });
  const sent = await request();
  search.resolve(events([frame(1, started), frame(2, finished)]));
  sent.resolve(events([frame(1, started), frame(2, finished)]));
  await sending;
  const next = connection.send([], {}, undefined, { runId: "next" });
  (await request()).resolve(events([frame(3, { ...finished, runId: "next" })]));
  await next;

  assert.deepEqual([search.method, sent.method], ["GET", "POST"]);
  const found = [(await first).value, (await chunks.next()).value, (await chunks.next()).value];
  assert.deepEqual(found, [started, finished, { ...finished, runId: "next" }]);
  leaving.abort();
  assert.equal((await chunks.next()).done, true);
});

test("a session needs to be followed", () => {
  assert.throws(() => createConnection({ mode: "session", sendUrl: "/chat" }), TypeError);
});
