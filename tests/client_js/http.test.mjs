// Following over HTTP: event streams, long polls, starts, and what makes them end.
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { PROLOGUE, Server, frame, gather, settle, stopClock } from "./fakes.mjs";
import { RequestError, StreamClient } from "./resumable_stream/client.js";

let server;
let client;
let pass;

function connect(options = {}) {
  const { timing, ...others } = options;
  client = new StreamClient({
    url: "http://server/api/chat/",
    fetch: server.fetch,
    timing: { random: () => 0, ...timing },
    ...others,
  });
  return client;
}

beforeEach(() => {
  server = new Server();
  pass = stopClock();
  connect();
});

afterEach(() => {
  client.close();
  mock.timers.reset();
});

const FINISH = { type: "finish" };

test("a stream is followed from its cursor, and ends cleanly with its last chunk", async () => {
  const following = client.follow("c 1", { from: 3 });
  const taken = gather(following);
  const request = await server.next();
  assert.equal(request.url, "http://server/api/chat/replay?id=c+1&from=3");
  const body = request.stream();
  body.chunks([5, { type: "start" }], [7, FINISH]).end();
  await taken.done;

  assert.deepEqual(taken.events, [{ id: 5, chunk: { type: "start" } }, { id: 7, chunk: FINISH }]);
  assert.deepEqual(await following.ended, { reason: "finished", cursor: 7, generation: null });
});

for (const [chunk, reason, error] of [
  [{ type: "abort" }, "stopped"],
  [{ type: "error", errorText: "Sorry." }, "failed", "Sorry."],
  [{ type: "error", error: { type: "api_error", message: "Sorry." } }, "failed", "Sorry."],
  [{ type: "RUN_FINISHED" }, "finished"],
  [{ type: "RUN_FINISHED", outcome: { type: "cancelled" } }, "stopped"],
  [{ type: "RUN_FINISHED", metadata: { resumable_stream: { outcome: "cancelled" } } }, "stopped"],
  [{ type: "RUN_ERROR", message: "Sorry." }, "failed", "Sorry."],
  [{ type: "message_stop" }, "finished"],
]) {
  test(`a body that ends after ${JSON.stringify(chunk)} is ${reason}`, async () => {
    const following = client.follow("c");
    const taken = gather(following);
    (await server.next()).stream().chunks([1, chunk]).end();
    await taken.done;
    const end = await following.ended;

    assert.deepEqual([end.reason, end.error], [reason, error]);
  });
}

test("a chunk with a name of JavaScript's own ends nothing", async () => {
  const following = client.follow("c");
  const taken = gather(following);
  const odd = ["constructor", "toString", "__proto__"].map((type, at) => [at + 1, { type }]);
  (await server.next()).stream().chunks(...odd, [4, FINISH]).end();
  await taken.done;

  assert.deepEqual(taken.events.map(({ id }) => id), [1, 2, 3, 4]);
  assert.equal((await following.ended).reason, "finished");
});

test("the named event tells how an answer ended, and why", async () => {
  const following = client.follow("c");
  const taken = gather(following);
  const body = (await server.next()).stream();
  body.write('id: 1\ndata: "a"\n\nevent: data\nid: 2\ndata: {"b":1}\n\n');
  body.write('event: end\nid: 4\ndata: {"reason":"interrupted","error":"Try again.","cause":"shutdown"}\n\n');
  await taken.done;

  assert.deepEqual(taken.chunks, ["a", { b: 1 }]);
  assert.deepEqual(await following.ended, {
    reason: "interrupted",
    cursor: 4,
    generation: null,
    error: "Try again.",
    cause: "shutdown",
  });
});

test("204 means that there is nothing to come", async () => {
  const following = client.follow("c", { from: 9 });
  (await server.next()).answer(204);

  assert.deepEqual(await following.ended, { reason: "nothing", cursor: 9, generation: null });
});

test("a body that is torn is followed from the cursor, and what came twice counts once", async () => {
  const following = client.follow("c");
  const taken = gather(following);
  (await server.next()).stream().chunks([2, "a"], [3, "b"]).write("id: 4\ndata: \"c").tear();
  await pass(1000);
  const again = await server.next();
  assert.match(again.url, /from=3$/);
  again.stream().chunks([2, "a"], [3, "b"], [4, "c"], [4, "c"], [9, FINISH]).end();
  await taken.done;

  assert.deepEqual(taken.chunks, ["a", "b", "c", FINISH]);
});

test("what breaks before its first event is followed from where it began", async () => {
  const following = client.follow("c");
  const taken = gather(following);
  (await server.next()).stream({ "X-Generation-Cursor": "7" }).tear();
  await pass(1000);
  const again = await server.next();
  assert.match(again.url, /from=7$/);
  again.stream().chunks([8, "a"], [9, FINISH]).end();
  await taken.done;

  assert.deepEqual(taken.chunks, ["a", FINISH]);
});

test("a body that ends without an end is no end", async () => {
  const following = client.follow("c");
  const taken = gather(following);
  (await server.next()).stream().chunks([2, "a"]).end();
  await pass(1000);
  (await server.next()).answer(204);
  await taken.done;

  assert.equal((await following.ended).reason, "nothing");
});

test("a character that is cut in two is whole", async () => {
  const following = client.follow("c");
  const taken = gather(following);
  const bytes = new TextEncoder().encode(frame(1, "€😀"));
  const body = (await server.next()).stream();
  for (const byte of bytes) body.write(Uint8Array.of(byte));
  body.chunks([2, FINISH]).end();
  await taken.done;

  assert.equal(taken.chunks[0], "€😀");
});

test("chunks without an id, which rebuild what an answer continues, come once although their connection broke", async () => {
  const taken = gather(client.follow("c"));
  (await server.next()).stream().chunks([null, "a"], [null, "b"]).tear();
  await pass(1000);
  (await server.next()).stream().chunks([null, "a"], [null, "b"], [null, "c"], [5, "d"]).tear();
  await pass(1000);
  const last = await server.next();
  assert.match(last.url, /from=5$/);
  last.stream().chunks([6, FINISH]).end();
  await taken.done;

  assert.deepEqual(taken.chunks, ["a", "b", "c", "d", FINISH]);
});

test("delays double, are never shorter than the server wants, and begin anew once something comes", async () => {
  connect({ timing: { random: Math.random } });
  const following = client.follow("c");
  const delays = [];
  const measure = async () => {
    await settle();
    assert.equal(following.state, "waiting");
    delays.push(following.retryAt - Date.now());
    await pass(60_000);
  };
  (await server.next()).fail();
  await measure();
  (await server.next()).fail();
  await measure();
  (await server.next()).answer(503, "Later.", { "Retry-After": "20" });
  await measure();
  (await server.next()).answer(429, "Later.", { "Retry-After": new Date(Date.now() + 25_000).toUTCString() });
  await measure();
  const body = (await server.next()).stream();
  body.write("retry: 7000\n\n").chunks([1, "a"]);
  await settle();
  body.tear();
  await measure();

  const least = [1000, 2000, 20_000, 24_000, 7000];
  delays.forEach((delay, index) => {
    assert.ok(delay >= least[index] && delay <= 1.6 * least[index] + 1000, `${index}: ${delay}`);
  });
});

test("a wait is cut short by reconnect()", async () => {
  const following = client.follow("c");
  (await server.next()).fail();
  await settle();
  client.reconnect();

  assert.ok(await server.next());
  assert.equal(following.state, "connecting");
});

test("a connection that falls silent is given up", async () => {
  const taken = gather(client.follow("c"));
  const body = (await server.next()).stream().chunks([1, "a"]);
  await pass(39_000);
  body.write(": keep-alive\n\n");
  await pass(39_000);
  assert.equal(body.isCancelled, false);
  await pass(2_000);
  assert.equal(body.isCancelled, true);
  await pass(1_000);

  assert.match((await server.next()).url, /from=1$/);
  assert.deepEqual(taken.chunks, ["a"]);
});

for (const [status, reason] of [[400, "refused"], [401, "forbidden"], [403, "forbidden"], [404, "forbidden"], [409, "refused"]]) {
  test(`${status} is permanent: ${reason}`, async () => {
    const following = client.follow("c");
    (await server.next()).answer(status, "No, because.", { "Content-Type": "text/plain; charset=utf-8" });
    const end = await following.ended;

    assert.deepEqual([end.reason, end.status, end.error], [reason, status, "No, because."]);
    assert.equal(server.isIdle, true);
  });
}

for (const status of [408, 425, 429, 500, 502, 503, 504]) {
  test(`${status} passes`, async () => {
    const following = client.follow("c");
    (await server.next()).answer(status, "<html>");
    await pass(2_000);
    (await server.next()).answer(204);

    assert.equal((await following.ended).reason, "nothing");
  });
}

for (const status of [2, 20, 4, 40]) {
  test(`a head that breaks off in its status line (${status}) is a broken connection`, async () => {
    const following = client.follow("c");
    (await server.next()).breakInHead(status);
    await pass(2_000);
    (await server.next()).answer(204);

    assert.equal((await following.ended).reason, "nothing");
  });
}

test("it gives up after as many fruitless tries as it was told", async () => {
  connect({ timing: { giveUpAfter: 3 } });
  const following = client.follow("c", { from: 1 });
  for (let count = 0; count < 3; count += 1) {
    (await server.next()).fail();
    await pass(60_000);
  }

  assert.deepEqual(await following.ended, { reason: "gave_up", cursor: 1 });
  assert.equal(server.isIdle, true);
});

test("leaving the loop, close() and an AbortSignal leave the stream, and free its connection", async () => {
  for (const leave of ["break", "close", "abort", "client"]) {
    connect();
    const controller = new AbortController();
    const following = client.follow("c", { signal: controller.signal });
    const looping = (async () => {
      for await (const event of following) if (leave === "break" && event) break;
    })();
    const body = (await server.next()).stream().chunks([1, "a"]);
    await settle();
    if (leave === "close") following.close();
    if (leave === "abort") controller.abort();
    if (leave === "client") client.close();
    await looping;

    assert.deepEqual(await following.ended, { reason: "closed", cursor: 1 }, leave);
    assert.equal(following.cursor, 1);
    await settle();
    assert.equal(body.isCancelled, true, leave);
  }
  assert.equal((await client.follow("c", { signal: AbortSignal.abort() }).ended).reason, "closed");
  assert.equal(server.isIdle, true);
});

test("who takes no chunks holds the connection up instead of filling the memory", async () => {
  const following = client.follow("c");
  const body = (await server.next()).stream();
  for (let id = 1; id <= 2000; id += 1) body.chunks([id, id]);
  await settle();
  assert.ok(body.unread > 1400);
  assert.equal(following.cursor, null);
  const taken = gather(following);
  body.chunks([2001, FINISH]).end();
  await taken.done;

  assert.equal(taken.events.length, 2001);
});

test("who leaves in the middle goes on after what was taken, not after what has come", async () => {
  const following = client.follow("c");
  (await server.next()).stream().chunks([1, "a"], [2, "b"], [3, "c"]);
  await settle();
  for await (const { chunk } of following) if (chunk === "b") break;

  assert.deepEqual([(await following.ended).cursor, following.cursor], [2, 2]);
});

test("listeners are told of chunks, states and the end; what they throw is theirs", async () => {
  const thrown = [];
  const reporting = mock.method(console, "error", (error) => thrown.push(error.message));
  const told = [];
  const following = client.follow("c", {
    onChange: ({ state, transport }) => told.push([state, transport]),
    onChunk: ({ chunk }) => {
      told.push(chunk);
      throw new Error("mine");
    },
    onEnd: ({ reason }) => told.push(reason),
  });
  (await server.next()).stream().chunks([1, "a"], [2, FINISH]).end();
  await following.ended;
  reporting.mock.restore();

  assert.deepEqual(told, [["connecting", null], ["open", "sse"], "a", FINISH, ["over", null], "finished"]);
  assert.deepEqual(thrown, ["mine", "mine"]);
});

test("a live stream goes on from answer to answer, and tells each end", async () => {
  const ends = [];
  const following = client.follow("c", { from: 1, live: true, onEnd: (end) => ends.push(end.reason) });
  const taken = gather(following);
  const request = await server.next();
  assert.match(request.url, /live=1/);
  request.stream().chunks([2, FINISH], [3, { type: "start" }], [4, { type: "abort" }]).end();
  await pass(1000);

  assert.match((await server.next()).url, /from=4&live=1$/);
  assert.deepEqual([ends, taken.events.length, following.state], [["finished", "stopped"], 3, "connecting"]);
});

// -- long polls --------------------------------------------------------------------------------------------------------

test("where event streams are held back, long polls serve, and streams are tried again later", async () => {
  const states = [];
  const following = client.follow("c", { onChange: ({ state, transport }) => states.push(`${state} ${transport}`) });
  const taken = gather(following);
  await server.next(); // Never answered: whatever is in between waits for the body's end.
  await pass(10_000);
  const first = await server.next();
  assert.match(first.url, /\?id=c&wait=25$/);
  first.json({ events: [{ id: 2, chunk: "a" }], cursor: 3, end: null });
  await settle();
  assert.equal(following.transport, "poll");
  for (let count = 0; count < 3; count += 1) {
    const poll = await server.next();
    assert.match(poll.url, /from=[35]&wait=25$/);
    await pass(25_000);
    poll.json({ events: [], cursor: 5, end: null });
  }
  const third = await server.next();
  assert.match(third.url, /from=5$/);
  third.stream().chunks([6, "b"], [7, FINISH]).end();
  await taken.done;

  assert.deepEqual(taken.chunks, ["a", "b", FINISH]);
  assert.deepEqual(states, ["connecting null", "open poll", "connecting null", "open sse", "over null"]);
});

test("what is no event stream, and a stream without a first byte, are no way", async () => {
  for (const held of [(request) => request.answer(200, "<html>"), (request) => request.answer(200, new ReadableStream(), { "Content-Type": "text/event-stream" })]) {
    connect();
    const taken = gather(client.follow("c"));
    held(await server.next());
    await pass(10_000);
    (await server.next()).json({ events: [{ chunk: "x" }, { id: 2, chunk: "a" }], cursor: 3, end: { reason: "stopped", generation: "g" } });
    await taken.done;
    assert.deepEqual(taken.chunks, ["x", "a"]);
  }
});

test("connections that open but bring nothing, again and again, are no way either", async () => {
  const following = client.follow("c");
  for (let count = 0; count < 3; count += 1) {
    (await server.next()).stream().tear();
    await pass(4_000);
  }
  const request = await server.next();
  assert.match(request.url, /wait=25/);
  request.json({ events: [], cursor: 3, end: { reason: "failed", error: "Sorry.", generation: "g" } });

  assert.deepEqual(await following.ended, { reason: "failed", cursor: 3, generation: "g", error: "Sorry." });
});

test("a server that is away is no reason to try another way", async () => {
  client.follow("c");
  for (let count = 0; count < 5; count += 1) {
    const request = await server.next();
    assert.doesNotMatch(request.url, /wait/);
    request.fail();
    await pass(60_000);
  }
});

test("polls alone can be asked for", async () => {
  connect({ transports: ["poll"] });
  const following = client.follow("c", { from: 0, live: true });
  const taken = gather(following);
  (await server.next()).json({ events: [{ id: 1, chunk: "a" }], cursor: 2, end: { reason: "finished" } });
  (await server.next()).fail();
  await pass(1000);
  const request = await server.next();
  assert.match(request.url, /from=2&live=1&wait=25$/);
  request.answer(204);
  await taken.done;

  assert.deepEqual([taken.chunks, (await following.ended).reason], [["a"], "nothing"]);
});

// -- starts ------------------------------------------------------------------------------------------------------------

test("a start posts the body under a key, and follows what it began", async () => {
  connect({ headers: () => Promise.resolve({ "X-CSRFToken": "t" }) });
  const following = client.start({ id: "c", message: "Hi" });
  const taken = gather(following);
  const request = await server.next();
  assert.deepEqual([request.method, request.url, request.body], ["POST", "http://server/api/chat", { id: "c", message: "Hi" }]);
  assert.equal(request.headers["X-CSRFToken"], "t");
  assert.match(request.headers["Idempotency-Key"], /^[0-9a-f]{32}$/);
  const body = request.stream({ "X-Generation-Id": "g" });
  assert.equal((await following.opened).generation, "g");
  body.chunks([3, "a"]).tear();
  await pass(1000);
  const rest = await server.next();
  assert.deepEqual([rest.method, rest.url], ["GET", "http://server/api/chat/replay?id=c&from=3"]);
  rest.stream().chunks([4, FINISH]).end();
  await taken.done;

  assert.deepEqual(taken.chunks, ["a", FINISH]);
  assert.equal((await following.ended).generation, "g");
});

test("a start whose answer is lost is repeated under the same key until it has a cursor", async () => {
  const following = client.start({ id: "c" }, { key: "mine" });
  (await server.next()).fail();
  await pass(1000);
  (await server.next()).stream().tear();
  await pass(2000);
  const third = await server.next();
  assert.deepEqual([third.method, third.headers["Idempotency-Key"]], ["POST", "mine"]);
  third.stream().chunks([2, FINISH]).end();
  gather(following);

  assert.equal((await following.ended).reason, "finished");
});

test("a start that says from where it can be followed is not repeated", async () => {
  for (const status of [200, 202]) {
    connect();
    const following = client.start({ id: "c" });
    const taken = gather(following);
    const headers = { "X-Generation-Id": "g", "X-Generation-Cursor": "3" };
    const request = await server.next();
    if (status === 200) request.stream(headers).tear();
    else request.answer(202, null, headers);
    await pass(1000);
    const rest = await server.next();
    assert.deepEqual([rest.method, rest.url], ["GET", "http://server/api/chat/replay?id=c&from=3"]);
    rest.stream().chunks([4, FINISH]).end();
    await taken.done;
    assert.deepEqual(taken.chunks, [FINISH]);
  }
});

test("a start that is refused says so, and which generation is in the way", async () => {
  const following = client.start({ id: "c" });
  (await server.next()).answer(409, "Busy.", { "Content-Type": "text/plain", "X-Generation-Id": "other" });

  assert.deepEqual(await following.ended, { reason: "refused", status: 409, error: "Busy.", generation: "other", cursor: null });
  assert.equal((await following.opened).state, "over");
});

test("an answer that is left to other requests is followed at once", async () => {
  const following = client.start({ id: "c" });
  const taken = gather(following);
  (await server.next()).answer(202, null, { "X-Generation-Id": "g" });
  const request = await server.next();
  assert.equal(request.url, "http://server/api/chat/replay?id=c");
  request.stream().chunks([2, FINISH]).end();
  await taken.done;

  assert.deepEqual(taken.chunks, [FINISH]);
});

test("a start that is held back is followed by polls, and asked for again if it is over", async () => {
  const following = client.start({ id: "c" }, { key: "mine" });
  const taken = gather(following);
  await server.next();
  await pass(10_000);
  await server.next();
  await pass(10_000);
  const poll = await server.next();
  assert.match(poll.url, /\?id=c&wait=25$/);
  poll.answer(204);
  await pass(1000);
  const again = await server.next();
  assert.deepEqual([again.method, again.headers["Idempotency-Key"]], ["POST", "mine"]);
  again.stream().chunks([2, FINISH]).end();
  await taken.done;

  assert.deepEqual(taken.chunks, [FINISH]);
});

// -- other requests ----------------------------------------------------------------------------------------------------

test("a stop names the generation, and says whether anything was stopped", async () => {
  const stopping = client.stop("c", { generation: "g" });
  const request = await server.next();
  assert.deepEqual([request.method, request.body], ["DELETE", { id: "c", generation: "g" }]);
  request.answer(202);
  assert.equal(await stopping, true);

  const late = client.stop("c");
  (await server.next()).answer(204);
  assert.equal(await late, false);

  const wrong = client.stop("c", { generation: "old" });
  (await server.next()).answer(409, "Another.", { "Content-Type": "text/plain", "X-Generation-Id": "new" });
  await assert.rejects(wrong, (error) => error instanceof RequestError && error.generation === "new" && !error.isPassing);
});

test("messages are read as they stand", async () => {
  const reading = client.messages("c/1");
  const request = await server.next();
  assert.equal(request.url, "http://server/api/chat/c%2F1/messages");
  request.json({ messages: [], generations: [], cursor: 0 });

  assert.deepEqual(await reading, { messages: [], generations: [], cursor: 0 });
});

test("older messages are read by the id of the oldest one that is there", async () => {
  const reading = client.messages("c", { before: "u=1&x", limit: 5 });
  const request = await server.next();
  assert.equal(request.url, "http://server/api/chat/c/messages?before=u%3D1%26x&limit=5");
  request.json({ messages: [], generations: [], cursor: 0, page: { truncated: false } });

  assert.deepEqual((await reading).page, { truncated: false });
});

test("the prologue alone opens a stream", async () => {
  const following = client.follow("c");
  (await server.next()).stream();
  await following.opened;

  assert.deepEqual([following.state, following.transport, PROLOGUE.includes("retry")], ["open", "sse", true]);
});
