import assert from "node:assert/strict";
import { test } from "node:test";

import { Answer, messageText, toolName } from "./page/fold.js";

function fold(...chunks) {
  const answer = new Answer("m");
  for (const chunk of chunks) answer.apply(chunk);
  return answer;
}

test("text and reasoning grow in parts of their own, in the order in which they began", () => {
  const { message } = fold(
    { type: "reasoning-start", id: "r" },
    { type: "reasoning-delta", id: "r", delta: "Hm" },
    { type: "text-start", id: "t" },
    { type: "reasoning-delta", id: "r", delta: "m." },
    { type: "reasoning-end", id: "r" },
    { type: "text-delta", id: "t", delta: "Yes" },
  );

  assert.deepEqual(message, {
    id: "m",
    role: "assistant",
    parts: [
      { type: "reasoning", text: "Hmm.", state: "done" },
      { type: "text", text: "Yes", state: "streaming" },
    ],
  });
});

test("an id that is used again after its end makes a new part", () => {
  const { message } = fold(
    { type: "text-start", id: "t" },
    { type: "text-delta", id: "t", delta: "one" },
    { type: "text-end", id: "t" },
    { type: "text-start", id: "t" },
    { type: "text-delta", id: "t", delta: "two" },
  );

  assert.equal(messageText(message), "one\n\ntwo");
});

test("a tool call goes through its states in one part", () => {
  const answer = new Answer("m");
  const part = () => answer.message.parts[0];

  answer.apply({ type: "tool-input-start", toolCallId: "c", toolName: "search" });
  answer.apply({ type: "tool-input-delta", toolCallId: "c", inputTextDelta: '{"q' });
  assert.deepEqual([part().state, part().inputText, toolName(part())], ["input-streaming", '{"q', "search"]);
  answer.apply({ type: "tool-input-available", toolCallId: "c", toolName: "search", input: { q: 1 } });
  assert.deepEqual([part().state, part().input], ["input-available", { q: 1 }]);
  answer.apply({ type: "tool-output-available", toolCallId: "c", output: [] });
  assert.deepEqual([part().state, part().output], ["output-available", []]);
  assert.equal(answer.message.parts.length, 1);
});

test("a tool that fails says why, and a dynamic one is named by its field", () => {
  const { message } = fold(
    { type: "tool-input-start", toolCallId: "c", toolName: "search", dynamic: true },
    { type: "tool-output-error", toolCallId: "c", errorText: "No." },
  );

  assert.equal(toolName(message.parts[0]), "search");
  assert.deepEqual([message.parts[0].state, message.parts[0].errorText], ["output-error", "No."]);
});

test("data with an id is replaced where it stands, and transient data is not kept", () => {
  const { message } = fold(
    { type: "data-weather", id: "w", data: 1 },
    { type: "data-weather", data: 2 },
    { type: "finish-step" },
    { type: "data-weather", id: "w", data: 3 },
    { type: "data-note", data: 4, transient: true },
  );

  assert.deepEqual(
    message.parts.map(({ data }) => data),
    [3, 2],
  );
});

test("sources and files are kept as they are", () => {
  const source = { type: "source-url", sourceId: "s", url: "https://example.org" };
  const file = { type: "file", url: "data:,", mediaType: "text/plain" };

  assert.deepEqual(fold(source, file).message.parts, [source, file]);
});

test("what a newer server may send changes nothing", () => {
  const { message, end } = fold({ type: "steering-message" }, { type: "message-metadata", messageMetadata: {} });

  assert.deepEqual([message.parts, end], [[], null]);
});

for (const [chunk, end, text] of [
  [{ type: "finish" }, "finished", ""],
  [{ type: "abort", reason: "x" }, "stopped", ""],
  [{ type: "error", errorText: "Away." }, "failed", "Away."],
]) {
  test(`${chunk.type} ends the answer and what is open in it`, () => {
    const answer = fold({ type: "text-start", id: "t" }, { type: "text-delta", id: "t", delta: "Ye" }, chunk);

    assert.deepEqual([answer.end, answer.errorText, answer.message.parts[0].state], [end, text, "done"]);
  });
}

test("chunks with names of JavaScript's own, or without a name, change nothing", () => {
  const odd = ["constructor", "toString", "__proto__", "hasOwnProperty", 5, null, undefined];
  const { message, end } = fold(...odd.map((type) => ({ type })), null, 5, { type: "text-start", id: "t" });

  assert.deepEqual(message.parts, [{ type: "text", text: "", state: "streaming" }]);
  assert.equal(end, null);
});
