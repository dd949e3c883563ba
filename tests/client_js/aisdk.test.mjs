// What our transport for the AI SDK asks for, and what it makes of the answers.
import assert from "node:assert/strict";
import { afterEach, mock, test } from "node:test";

import { RequestError, ResumableChatTransport } from "./resumable_stream/aisdk.js";
import { Server, frame, settle, stopClock } from "./fakes.mjs";

afterEach(() => mock.timers.reset());

const START = { type: "start", messageId: "a" };
const FINISH = { type: "finish" };
const delta = (text) => ({ type: "text-delta", id: "t", delta: text });
const BEGUN = { "X-Generation-Id": "g", "X-Generation-Cursor": "10" };

function make(options = {}) {
  const server = new Server();
  const { tick = stopClock(), ...rest } = options;
  const timing = { firstDelayMs: 1000, random: () => 0, ...rest.timing };
  return { server, tick, transport: new ResumableChatTransport({ fetch: server.fetch, ...rest, timing }) };
}

const ask = (transport, more = {}) =>
  transport.sendMessages({ chatId: "c", messages: [{ id: "q" }], trigger: "submit-message", ...more });

async function take(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

test("a message is posted as the stock transport posts it, under an idempotency key", async () => {
  const headers = async () => new Headers({ Authorization: "Bearer t" });
  const { server, transport } = make({ api: "/api/ask/", headers, body: () => ({ model: "m" }), credentials: "include" });
  const asking = ask(transport, { messageId: "q", body: { temperature: 1 }, headers: { "X-Page": "p", "X-None": undefined } });
  const post = await server.next();
  post.stream(BEGUN).chunks([11, START], [12, FINISH]).end();

  assert.deepEqual(await take(await asking), [START, FINISH]);
  assert.deepEqual([post.method, post.url], ["POST", "/api/ask"]);
  const sent = { model: "m", temperature: 1, id: "c", messages: [{ id: "q" }], trigger: "submit-message", messageId: "q" };
  assert.deepEqual(post.body, sent);
  const { "Idempotency-Key": key, ...others } = post.headers;
  assert.match(key, /^[0-9a-f]{32}$/);
  assert.deepEqual(others, { authorization: "Bearer t", "x-page": "p", "Content-Type": "application/json" });
});

test("a post whose answer is lost is repeated under its key", async () => {
  const { server, tick, transport } = make();
  const asking = ask(transport);
  const lost = await server.next();
  lost.fail();
  await tick(1000);
  const again = await server.next();
  again.stream(BEGUN).chunks([11, START], [12, FINISH]).end();

  assert.deepEqual(await take(await asking), [START, FINISH]);
  assert.equal(again.headers["Idempotency-Key"], lost.headers["Idempotency-Key"]);
  assert.deepEqual(again.body, lost.body);
});

test("after a cut it goes on from the newest cursor, with nothing shown twice", async () => {
  const { server, tick, transport } = make();
  const asking = ask(transport);
  (await server.next()).stream(BEGUN).chunks([11, START], [12, delta("Half ")]).tear();
  const chunks = take(await asking);
  await tick(1000);
  const rest = await server.next();
  rest.stream().chunks([12, delta("Half ")], [13, delta("and whole.")], [14, FINISH]).end();

  assert.deepEqual(await chunks, [START, delta("Half "), delta("and whole."), FINISH]);
  assert.deepEqual([rest.method, rest.url, rest.headers["Last-Event-ID"]], ["GET", "/api/chat/replay?id=c&from=12", "12"]);
});

test("a cut before the first chunk does not have the message sent again", async () => {
  const { server, tick, transport } = make();
  const asking = ask(transport);
  (await server.next()).stream(BEGUN).tear();
  const chunks = take(await asking);
  await tick(1000);
  const rest = await server.next();
  rest.stream().chunks([11, START], [12, FINISH]).end();

  assert.deepEqual(await chunks, [START, FINISH]);
  assert.equal(rest.url, "/api/chat/replay?id=c&from=10");
});

test("a cut after the last chunk asks for nothing more", async () => {
  const { server, transport } = make();
  const asking = ask(transport);
  (await server.next()).stream(BEGUN).chunks([11, START], [12, FINISH]).tear();

  assert.deepEqual(await take(await asking), [START, FINISH]);
  assert.ok(server.isIdle);
});

test("the next answer of the chat is not taken for the rest of this one", async () => {
  const { server, tick, transport } = make();
  const asking = ask(transport);
  (await server.next()).stream(BEGUN).chunks([11, START]).tear();
  const chunks = take(await asking);
  await tick(1000);
  const next = { type: "start", messageId: "b" };
  (await server.next()).stream().chunks([12, { type: "abort" }], [13, next], [14, FINISH]).end();

  assert.deepEqual(await chunks, [START, { type: "abort" }]);
});

for (const status of [429, 503]) {
  test(`after a ${status} it waits for as long as the server says`, async () => {
    const { server, tick, transport } = make();
    const asking = ask(transport);
    (await server.next()).answer(status, "Later.", { "Retry-After": "7" });
    await tick(6999);
    assert.ok(server.isIdle);
    await tick(1);
    (await server.next()).stream(BEGUN).chunks([11, START], [12, FINISH]).end();

    assert.deepEqual(await take(await asking), [START, FINISH]);
  });
}

for (const status of [400, 401, 403, 404, 409]) {
  test(`a ${status} is an error, at the start and in mid-answer`, async () => {
    const { server, tick, transport } = make();
    const refusal = [status, "This is why.", { "Content-Type": "text/plain", "X-Generation-Id": "other" }];
    const isRefusal = (error) =>
      error instanceof RequestError && error.message === "This is why." && error.status === status && error.generation === "other";
    const refused = ask(transport);
    (await server.next()).answer(...refusal);
    await assert.rejects(refused, isRefusal);

    const begun = ask(transport);
    (await server.next()).stream(BEGUN).chunks([11, START]).tear();
    const chunks = take(await begun);
    await tick(1000);
    (await server.next()).answer(...refusal);
    await assert.rejects(chunks, isRefusal);
  });
}

test("an answer whose rest the server does not have is not shown as a whole one", async () => {
  const { server, tick, transport } = make();
  const asking = ask(transport);
  (await server.next()).stream(BEGUN).chunks([11, START], [12, delta("Half ")]).tear();
  const chunks = take(await asking);
  await tick(1000);
  (await server.next()).answer(204);

  await assert.rejects(chunks, { message: "The server no longer has the rest of this answer." });
});

test("a page in place of an event stream is an error", async () => {
  const { server, transport } = make();
  const asking = ask(transport);
  (await server.next()).answer(200, "<h1>Log in</h1>", { "Content-Type": "text/html" });

  await assert.rejects(asking.then(take), { message: "The server did not answer with an event stream." });
});

test("a delivery by replay is followed at once", async () => {
  const { server, transport } = make();
  const asking = ask(transport);
  (await server.next()).answer(202, null, BEGUN);
  const replay = await server.next();
  replay.stream().chunks([11, START], [12, FINISH]).end();

  assert.deepEqual(await take(await asking), [START, FINISH]);
  assert.equal(replay.url, "/api/chat/replay?id=c&from=10");
});

test("an abort ends waits, requests and answers with an AbortError", async () => {
  const { server, tick, transport } = make();
  for (const begin of [() => {}, (post) => post.fail()]) {
    const leaving = new AbortController();
    const asking = ask(transport, { abortSignal: leaving.signal });
    begin(await server.next());
    await settle();
    leaving.abort();
    await assert.rejects(asking, { name: "AbortError" });
  }
  const leaving = new AbortController();
  const asking = ask(transport, { abortSignal: leaving.signal });
  const post = await server.next();
  post.stream(BEGUN).chunks([11, START]);
  const chunks = take(await asking);
  await settle();
  leaving.abort();
  await assert.rejects(chunks, { name: "AbortError" });
  await tick(60_000);
  assert.ok(post.signal.aborted && server.isIdle);
});

test("a reconnect brings what the answer continues, once, and null if nothing runs", async () => {
  const { server, tick, transport } = make();
  const nothing = transport.reconnectToStream({ chatId: "c d" });
  const asked = await server.next();
  asked.answer(204);
  assert.equal(await nothing, null);
  assert.equal(asked.url, "/api/chat/c%20d/stream");

  const something = transport.reconnectToStream({ chatId: "c" });
  (await server.next()).stream(BEGUN).chunks([null, START], [null, delta("Before. ")]).tear();
  const chunks = take(await something);
  await tick(1000);
  const again = await server.next();
  again.stream(BEGUN).chunks([null, START], [null, delta("Before. ")], [11, delta("After.")]).tear();
  await tick(1000);
  const rest = await server.next();
  rest.stream().chunks([12, FINISH]).end();
  assert.deepEqual(await chunks, [START, delta("Before. "), delta("After."), FINISH]);
  assert.deepEqual([again.url, rest.url], ["/api/chat/c/stream", "/api/chat/replay?id=c&from=11"]);
});

test("a message that is sent ends the search for an answer to resume", async () => {
  const { server, tick, transport } = make();
  const searching = transport.reconnectToStream({ chatId: "c" });
  const search = await server.next();
  search.fail();
  await settle();
  const asking = ask(transport);
  assert.equal(await searching, null);
  (await server.next()).stream(BEGUN).chunks([11, START], [12, FINISH]).end();
  assert.deepEqual(await take(await asking), [START, FINISH]);
  await tick(60_000);
  assert.ok(server.isIdle);
});

test("requests may be prepared as those of the stock transport", async () => {
  const seen = [];
  const { server, tick, transport } = make({
    headers: { "X-Own": "1" },
    prepareSendMessagesRequest: (request) => {
      seen.push(request);
      return { api: "/ask", body: { id: request.id, message: request.messages.at(-1) }, headers: { "X-Prepared": "2" } };
    },
    prepareReconnectToStreamRequest: ({ id }) => ({ api: `/again/${id}`, credentials: "include" }),
  });
  const asking = ask(transport, { metadata: "m" });
  const post = await server.next();
  post.stream(BEGUN).chunks([11, START]).tear();
  const chunks = take(await asking);
  await tick(1000);
  const rest = await server.next();
  rest.stream().chunks([12, FINISH]).end();
  await chunks;

  const { api, id, requestMetadata, headers, trigger } = seen[0];
  assert.deepEqual([api, id, requestMetadata, headers, trigger], ["/api/chat", "c", "m", { "x-own": "1" }, "submit-message"]);
  assert.deepEqual([post.url, post.body, post.headers["x-prepared"]], ["/ask", { id: "c", message: { id: "q" } }, "2"]);
  assert.equal(post.headers["x-own"], undefined);
  assert.deepEqual([rest.url, rest.headers["Last-Event-ID"], rest.headers["x-own"]], ["/again/c", "11", "1"]);
});

test("Django's token goes to the page's own site only, as the cookie is by then", async (t) => {
  const page = { document: Object.assign(new EventTarget(), { cookie: "a=b; csrftoken=one" }), location: new URL("https://own.example/chat") };
  Object.assign(globalThis, page);
  t.after(() => Object.keys(page).forEach((name) => delete globalThis[name]));
  const { server, tick, transport } = make();
  const asking = ask(transport);
  const post = await server.next();
  post.fail();
  page.document.cookie = "csrftoken=two";
  await tick(1000);
  const again = await server.next();
  again.stream(BEGUN).chunks([11, FINISH]).end();
  await take(await asking);
  assert.deepEqual([post, again].map(({ headers }) => headers["x-csrftoken"]), ["one", "two"]);

  for (const options of [{ api: "https://other.example/api/chat" }, { csrfCookie: null }, { csrfCookie: "session" }]) {
    const other = make({ ...options, tick });
    const asked = ask(other.transport);
    const request = await other.server.next();
    request.answer(403);
    await assert.rejects(asked);
    assert.equal(request.headers["x-csrftoken"], undefined);
  }
});

test("a page that is looked at again, or online again, waits no longer", async (t) => {
  const { server } = make();
  const document = Object.assign(new EventTarget(), { cookie: "", hidden: false });
  const window = new EventTarget();
  const names = { document, location: new URL("https://own.example"), addEventListener: window.addEventListener.bind(window) };
  Object.assign(globalThis, names);
  t.after(() => Object.keys(names).forEach((name) => delete globalThis[name]));
  const states = [];
  const watched = new ResumableChatTransport({ fetch: server.fetch, onChange: ({ chatId, state }) => states.push(`${chatId} ${state}`) });
  const asking = ask(watched);
  (await server.next()).fail();
  await settle();
  window.dispatchEvent(new Event("online"));
  (await server.next()).fail();
  await settle();
  document.dispatchEvent(new Event("visibilitychange"));
  (await server.next()).stream(BEGUN).chunks([11, START], [12, FINISH]).end();

  assert.deepEqual(await take(await asking), [START, FINISH]);
  const tried = ["c connecting", "c waiting"];
  assert.deepEqual(states, [...tried, ...tried, "c connecting", "c open", "c over"]);
});

test("who has set a limit of tries is told of a lost connection", async () => {
  const { server, tick, transport } = make({ timing: { giveUpAfter: 2 } });
  const asking = ask(transport);
  (await server.next()).fail();
  await tick(1000);
  (await server.next()).fail();

  await assert.rejects(asking, { name: "TypeError", message: /network/ });
});

test("a stop names the answer that is followed", async () => {
  const { server, transport } = make();
  const asking = ask(transport);
  (await server.next()).stream(BEGUN).chunks([11, START]);
  await asking;
  const stopping = transport.stop("c");
  const stop = await server.next();
  stop.answer(202);
  assert.equal(await stopping, true);
  assert.deepEqual([stop.method, stop.url, stop.body], ["POST", "/api/chat/c/stop", { generation: "g" }]);

  const again = transport.stop("other");
  const other = await server.next();
  other.answer(204);
  assert.equal(await again, false);
  assert.deepEqual(other.body, {});
});
