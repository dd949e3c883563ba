// Following over the shared websocket, and what happens where there is none.
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { Server, fakeSockets, gather, settle, stopClock } from "./fakes.mjs";
import { StreamClient } from "./resumable_stream/client.js";

let server;
let client;
let Sockets;
let pass;

function connect(options = {}) {
  client = new StreamClient({
    url: "http://server/api/chat",
    websocket: "http://server/ws/chat",
    fetch: server.fetch,
    WebSocket: Sockets,
    timing: { random: () => 0 },
    ...options,
  });
}

beforeEach(() => {
  server = new Server();
  Sockets = fakeSockets();
  pass = stopClock();
  connect();
});

afterEach(() => {
  client.close();
  mock.timers.reset();
});

const subscribed = (stream, from = 0) => ({ type: "subscribed", stream, from });
const chunk = (stream, id, value) => ({ type: "chunk", stream, id, chunk: value });
const end = (stream, id, reason, more = {}) => ({ type: "end", stream, id, reason, reconnect: false, ...more });

/** Follows `c`, and gives the socket once it is subscribed there. */
async function followed(options) {
  const following = client.follow("c", options);
  const taken = gather(following);
  await settle();
  if (Sockets.last.readyState === 0) Sockets.last.open();
  await settle();
  Sockets.last.say(subscribed("c"));
  await settle();
  return { following, taken, socket: Sockets.last };
}

test("one socket serves all streams, in our dialect", async () => {
  const first = client.follow("a", { from: 3 });
  const second = client.follow("b", { live: true });
  const taken = [gather(first), gather(second)];
  await settle();
  const socket = Sockets.last;
  assert.deepEqual([socket.url, socket.protocol], ["ws://server/ws/chat", "resumable-stream.v1"]);
  socket.open();
  await settle();
  assert.deepEqual(socket.sent, [
    { type: "subscribe", stream: "a", from: 3 },
    { type: "subscribe", stream: "b", live: true },
  ]);
  socket.say(subscribed("a", 3), subscribed("b"), chunk("a", 4, "a1"), chunk("b", 1, "b1"), chunk("a", 5, "a2"));
  socket.say(end("a", 7, "interrupted", { generation: "g", cause: "taken-over" }), end("b", 2, "finished"), chunk("b", 3, "b2"));
  await settle();

  assert.deepEqual(taken.map((one) => one.chunks), [["a1", "a2"], ["b1", "b2"]]);
  assert.deepEqual(await first.ended, { reason: "interrupted", generation: "g", cause: "taken-over", cursor: 7 });
  assert.deepEqual([second.state, second.transport, Sockets.made.length], ["open", "websocket", 1]);
  assert.equal(server.isIdle, true);
});

for (const [reason, more] of [["nothing", {}], ["forbidden", { error: "No." }], ["failed", { error: "Sorry." }]]) {
  test(`${reason} is an end`, async () => {
    const { following, socket } = await followed();
    socket.say(end("c", 2, reason, more));

    const told = await following.ended;
    assert.deepEqual([told.reason, told.error], [reason, more.error]);
    await settle();
    assert.deepEqual(socket.sent.map(({ type }) => type), ["subscribe"]);
  });
}

test("a socket that breaks is opened again, and every stream goes on from its cursor", async () => {
  const { following, taken, socket } = await followed();
  socket.say(chunk("c", undefined, "rebuilt"), chunk("c", 4, "a"), { type: "caught_up", stream: "c", id: 6 });
  await settle();
  socket.break();
  await settle();
  assert.equal(following.state, "waiting");
  await pass(1000);
  assert.equal(Sockets.made.length, 2);
  Sockets.last.open();
  await settle();
  assert.deepEqual(Sockets.last.sent, [{ type: "subscribe", stream: "c", from: 6 }]);
  Sockets.last.say(subscribed("c", 6), chunk("c", 4, "a"), chunk("c", 8, "b"), end("c", 9, "finished"));
  await taken.done;

  assert.deepEqual(taken.chunks, ["rebuilt", "a", "b"]);
});

test("a server that ends says when to come back, and where", async () => {
  const { following, taken, socket } = await followed();
  socket.say(chunk("c", 4, "a"), end("c", 4, "shutdown", { reconnect: true }));
  socket.break(1012);
  await settle();
  assert.equal(following.state, "waiting");
  await pass(1000);
  Sockets.last.open();
  await settle();

  assert.deepEqual(Sockets.last.sent, [{ type: "subscribe", stream: "c", from: 4 }]);
  assert.deepEqual(taken.chunks, ["a"]);
});

test("where no socket opens, an event stream serves, and sockets are left alone for a minute", async () => {
  const following = client.follow("c");
  const taken = gather(following);
  await settle();
  Sockets.last.break();
  const body = (await server.next()).stream().chunks([1, "a"]);
  await settle();
  assert.equal(following.transport, "sse");
  body.tear();
  await pass(1000);
  (await server.next()).stream().chunks([2, "b"]).tear();
  await settle();
  assert.equal(Sockets.made.length, 1);
  await pass(61_000);
  assert.equal(Sockets.made.length, 2);
  Sockets.last.open();
  await settle();
  Sockets.last.say(subscribed("c"), chunk("c", 3, "c"), end("c", 4, "finished"));
  await taken.done;

  assert.deepEqual(taken.chunks, ["a", "b", "c"]);
});

for (const [what, hinder] of [
  ["cannot be made", () => connect({ WebSocket: class { constructor() { throw new Error("CSP"); } } })],
  ["never opens", () => pass(10_000)],
  ["opens and says nothing", async () => { Sockets.last.open(); await pass(10_000); }],
  ["opens and is closed at once", async () => { Sockets.last.open(); await settle(); Sockets.last.break(4403); }],
]) {
  test(`a socket that ${what} is no way`, async () => {
    if (what === "cannot be made") hinder();
    const following = client.follow("c");
    await settle();
    if (what !== "cannot be made") await hinder();
    (await server.next()).stream();
    await settle();

    assert.equal(following.transport, "sse");
  });
}

test("a socket that could not be made is made later", async () => {
  let isForbidden = true;
  const Allowed = Sockets;
  connect({
    WebSocket: class extends Allowed {
      constructor(...values) {
        if (isForbidden) throw new Error("not now");
        super(...values);
      }
    },
  });
  const following = client.follow("c");
  (await server.next()).fail();
  isForbidden = false;
  await pass(1000);
  Sockets.last.open();
  await settle();
  Sockets.last.say(subscribed("c"));
  await settle();

  assert.equal(following.transport, "websocket");
});

test("where WebSocket is unknown, there is no such way", async () => {
  connect({ websocket: null });
  const following = client.follow("c");
  (await server.next()).stream();
  await settle();

  assert.deepEqual([following.transport, Sockets.made.length], ["sse", 0]);
});

test("while the server is away, sockets are not blamed", async () => {
  client.follow("c");
  for (let count = 1; count < 4; count += 1) {
    await settle();
    assert.equal(Sockets.made.length, count);
    Sockets.last.break();
    (await server.next()).fail();
    await pass(60_000);
  }
});

test("a stream that is followed twice gets an event stream for the second", async () => {
  await followed();
  const second = client.follow("c");
  (await server.next()).stream();
  await settle();
  const third = client.follow("d");
  await settle();

  assert.equal(second.transport, "sse");
  assert.deepEqual([third.state, Sockets.last.sent.at(-1)], ["connecting", { type: "subscribe", stream: "d" }]);
});

test("who comes back to a stream waits until the server has let go of it", async () => {
  const { following, socket } = await followed();
  following.close();
  await settle();
  const again = client.follow("c", { from: 2 });
  const taken = gather(again);
  await settle();
  assert.deepEqual(socket.sent.slice(1), [{ type: "unsubscribe", stream: "c" }]);
  socket.say(chunk("c", 9, "of the first"), { type: "unsubscribed", stream: "c" });
  await settle();
  assert.deepEqual(socket.sent.slice(2), [{ type: "subscribe", stream: "c", from: 2 }]);
  socket.say(subscribed("c", 2), chunk("c", 3, "a"), end("c", 4, "finished"));
  await taken.done;

  assert.deepEqual(taken.chunks, ["a"]);
});

test("errors: one on the way is none, one that passes is waited for, one that stays is the end", async () => {
  const { following, socket } = await followed();
  socket.say({ type: "error", stream: "c", status: 503, error: "Later.", retry: 2 });
  await settle();
  assert.equal(following.state, "open");
  socket.say({ type: "error", stream: "c", status: 503, error: "Later." });
  await settle();
  assert.equal(following.state, "waiting");
  await pass(1000);
  socket.say({ type: "error", stream: "c", status: 429, error: "Full.", retry: 7 });
  await settle();
  assert.equal(following.retryAt - Date.now(), 7000);
  await pass(7000);
  socket.say({ type: "error", status: 400, error: "Of no stream." }, { type: "error", stream: "c", status: 404, error: "No." });

  assert.deepEqual(await following.ended, { reason: "forbidden", status: 404, error: "No.", generation: null, cursor: null });
  assert.equal(Sockets.made.length, 1);
});

test("a silent socket is pinged, and given up if it stays silent", async () => {
  const { following, socket } = await followed();
  await pass(20_000);
  assert.deepEqual(socket.sent.at(-1), { type: "ping" });
  socket.say({ type: "pong" });
  await pass(20_000);
  await pass(9_000);
  assert.equal(following.state, "open");
  await pass(1_000);
  assert.equal(following.state, "waiting");
  await pass(1_000);
  assert.equal(Sockets.made.length, 2);
});

test("a socket that nobody needs any more is closed, but not at once", async () => {
  const { following, socket } = await followed();
  following.close();
  await pass(9_000);
  assert.equal(socket.closedWith, undefined);
  await pass(2_000);
  assert.equal(socket.closedWith, 1000);
});

test("who takes nothing is unsubscribed, and comes back from where it was", async () => {
  const following = client.follow("c");
  await settle();
  Sockets.last.open();
  await settle();
  const socket = Sockets.last;
  socket.say(subscribed("c"));
  await settle();
  for (let id = 1; id <= 5000; id += 1) socket.say(chunk("c", id, id));
  await settle();
  assert.equal(following.cursor, null);
  const taken = gather(following);
  await settle();
  assert.deepEqual(socket.sent.at(-1), { type: "unsubscribe", stream: "c" });
  socket.say({ type: "unsubscribed", stream: "c" });
  await settle();
  const { from } = socket.sent.at(-1);
  assert.ok(from > 500 && from < 5000);
  socket.say(subscribed("c", from));
  for (let id = from + 1; id <= 5000; id += 1) {
    socket.say(chunk("c", id, id));
    if (id % 1000 === 0) await settle();
  }
  socket.say(end("c", 5001, "finished"));
  await taken.done;

  assert.deepEqual(taken.chunks, Array.from({ length: 5000 }, (_, index) => index + 1));
});

test("what is not of the dialect is passed over", async () => {
  const { following, socket } = await followed();
  socket.dispatchEvent(Object.assign(new Event("message"), { data: "no JSON" }));
  socket.say({ type: "news", stream: "c" }, chunk("unknown", 1, "x"), {});
  await settle();

  assert.equal(following.state, "open");
});
