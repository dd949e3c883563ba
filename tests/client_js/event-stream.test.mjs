import assert from "node:assert/strict";
import { test } from "node:test";

import { EventParser } from "./resumable_stream/event-stream.js";

const event = (data, id = "", name = "message") => ({ name, id, data });

test("frames as the server sends them", () => {
  const parser = new EventParser();
  const events = parser.feed('retry: 1500\n\n: stream\n\nid: 4\ndata: {"a":1}\n\nid: 6\ndata: {}\n\n');

  assert.deepEqual(events, [event('{"a":1}', "4"), event("{}", "6")]);
  assert.equal(parser.retry, 1500);
});

test("every kind of line end, several data lines, fields without a value, and an id that stays", () => {
  const text = "id:1\rdata: a\r\n\r\nevent: end\ndata\n\ndata:b\ndata:  c\n\nid: no\0\nretry: soon\ndata: d\n\n";
  const parser = new EventParser();

  assert.deepEqual(parser.feed(text), [
    event("a", "1"),
    event("", "1", "end"),
    event("b\n c", "1"),
    event("d", "1"),
  ]);
  assert.equal(parser.retry, null);
});

test("an event that is not finished gives nothing", () => {
  const parser = new EventParser();

  assert.deepEqual(parser.feed("data: a\n"), []);
  assert.deepEqual(parser.feed(""), []);
  assert.deepEqual(parser.feed("\n"), [event("a")]);
});

test("wherever a text is cut, the events are the same", () => {
  const text = "id: 1\r\ndata: a\r\n\r\n: note\n\nid: 2\ndata: b\u2028b\rdata: c\r\rid: 3\ndata: d\n\n";
  const whole = new EventParser().feed(text);
  assert.equal(whole.length, 3);

  for (let first = 0; first <= text.length; first += 1) {
    for (let second = first; second <= text.length; second += 1) {
      const parser = new EventParser();
      const parts = [text.slice(0, first), text.slice(first, second), text.slice(second)];
      assert.deepEqual(parts.flatMap((part) => parser.feed(part)), whole, `cut at ${first} and ${second}`);
    }
  }
});
