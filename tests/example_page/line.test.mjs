import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

globalThis.addEventListener = () => {};

const { Line } = await import("./page/line.js");
const { lineText, wayText } = await import("./page/status.js");

let line;

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  globalThis.document = Object.assign(new EventTarget(), { hidden: false });
  globalThis.WebSocket = class extends EventTarget {
    close() {
      this.isClosed = true;
      this.dispatchEvent(new Event("close"));
    }
  };
  globalThis.fetch = (_, { signal }) =>
    new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  line = new Line();
});

afterEach(() => {
  mock.timers.reset();
  delete globalThis.WebSocket;
});

test("a cut breaks what is open, keeps everything off for a while, and says when it is over", async () => {
  const { WebSocket } = line;
  const socket = new WebSocket("ws://server", "protocol");
  const broken = assert.rejects(line.fetch("/open"), TypeError);
  let isUsable = false;
  line.addEventListener("usable", () => (isUsable = true));
  line.cut(6000);
  await broken;
  assert.equal(socket.isClosed, true);
  await assert.rejects(line.fetch("/other"), TypeError);
  assert.throws(() => new WebSocket("ws://server", "protocol"), TypeError);
  line.show({ state: "waiting", transport: null, retryAt: 9 });
  assert.deepEqual([line.state, isUsable], ["cut", false]);
  mock.timers.tick(6000);

  assert.deepEqual([line.state, isUsable], ["connecting", true]);
  assert.ok(new WebSocket("ws://server", "protocol"));
});

test("the line is shown as what is followed has it", () => {
  const seen = [];
  line.addEventListener("change", () => seen.push([lineText(line), wayText(line)]));
  for (const transport of ["websocket", "sse", "poll"]) line.show({ state: "open", transport, retryAt: 0 });
  line.show({ state: "waiting", transport: null, retryAt: Date.now() + 2500 });
  line.show({ state: "over", transport: null, retryAt: 0 });

  assert.deepEqual(seen, [
    ["Live", "WebSocket"],
    ["Live", "event stream"],
    ["Live", "long poll"],
    ["Offline, next try in 3 s", ""],
  ]);
});

test("where the browser has no WebSocket, neither has the line", () => {
  delete globalThis.WebSocket;

  assert.equal(line.WebSocket, undefined);
});
