import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { NoWayError, OccupiedError } from "./resumable_stream/errors.js";
import { Backoff, Ladder } from "./resumable_stream/ladder.js";

beforeEach(() => mock.timers.enable({ apis: ["Date"] }));
afterEach(() => mock.timers.reset());

const MINUTE = 60_000;
const failures = (...names) => new Map(names.map((name) => [name, new NoWayError("held")]));

test("what fails where the next way works is left alone, longer each time, until it works again", () => {
  const ladder = new Ladder(["websocket", "sse", "poll"]);
  for (const minutes of [1, 4, 16, 60, 60]) {
    ladder.worked("poll", failures("websocket", "sse"));
    mock.timers.tick(minutes * MINUTE - 1);
    assert.deepEqual([ladder.names, ladder.hasBetter("poll")], [["poll"], false]);
    mock.timers.tick(1);
    assert.deepEqual([ladder.names, ladder.hasBetter("poll")], [["websocket", "sse", "poll"], true]);
  }
  ladder.worked("sse", failures("websocket"));
  ladder.worked("poll", failures("sse"));
  mock.timers.tick(MINUTE);

  assert.deepEqual(ladder.names, ["sse", "poll"]);
});

test("a way that is in use is not at fault, and the only way is never left alone", () => {
  const ladder = new Ladder(["websocket", "sse"]);
  ladder.worked("sse", new Map([["websocket", new OccupiedError("twice")]]));
  assert.deepEqual(ladder.names, ["websocket", "sse"]);
  ladder.shun("websocket");
  ladder.shun("sse");
  assert.deepEqual(ladder.names, ["sse"]);

  const only = new Ladder(["poll"]);
  only.shun("poll");
  assert.deepEqual(only.names, ["poll"]);
});

test("delays double up to the longest, are spread by chance, and heed what the server wants", () => {
  const backoff = new Backoff({ longestDelayMs: 5000, random: () => 0.5 });
  assert.deepEqual([1, 2, 3, 4].map(() => backoff.next()), [1250, 2500, 5000, 6250]);
  assert.equal(backoff.next(20_000), 25_000);
  backoff.reset();
  backoff.suggest(3000);
  assert.equal(backoff.next(), 3750);

  const chosen = new Backoff({ firstDelayMs: 10, longestDelayMs: 5000, random: () => 0 });
  chosen.suggest(3000);
  assert.equal(chosen.next(), 10);
});
