import assert from "node:assert/strict";
import { test } from "node:test";

import { pieces } from "./page/code.js";
import { closeInline, rawLength, splitBlocks, withoutMarks } from "./page/markdown.js";
import { Marked } from "./page/vendor/marked.js";

const TEXT = `# Title

A paragraph with **bold**, *italic*, \`code\`, a [link](https://example.org "t") and a [reference][r].
Its second line
- an item right below it
- another with a code block:

  \`\`\`python
  def f():

      return "- no item"
  \`\`\`

  and a paragraph of its own

1. one
2. two

Setext
======

> a quote
goes on lazily

| a | b |
|---|--:|
| 1 | \`|\` |

    indented code

<details><summary>html</summary>

*inside*

</details>

~~~
\`\`\`
never closed
`;

const marked = new Marked();

function streamed(text, step) {
  const links = {};
  let html = "";
  let closedLength = 0;
  const close = (tokens) => {
    closedLength += rawLength(tokens);
    html += marked.parser(tokens);
  };
  for (let end = 0; end < text.length; end += step) close(splitBlocks(text.slice(closedLength, end), false, links).closed);
  close(splitBlocks(text.slice(closedLength), true, links).closed);
  return html;
}

test("a text that comes in pieces of any length is rendered like the whole text", () => {
  const whole = marked.parse(TEXT);

  for (let step = 1; step <= TEXT.length; step += 1) assert.equal(streamed(TEXT, step), whole, `pieces of ${step}`);
});

test("only the last block is open", () => {
  const { closed, open } = splitBlocks("one\n\ntwo\n\nthree", false);

  assert.deepEqual(
    closed.filter(({ type }) => type === "paragraph").map(({ text }) => text),
    ["one", "two"],
  );
  assert.deepEqual(
    open.map(({ text }) => text),
    ["three"],
  );
});

test("a definition is known to the blocks after it", () => {
  const links = {};
  splitBlocks("[r]: https://example.org\n\ntext", false, links);

  const { closed } = splitBlocks("see [r]", true, links);

  assert.match(marked.parser(closed), /href="https:\/\/example.org"/);
});

for (const [text, shown] of [
  ["text\n-", "text"],
  ["text\n- ", "text"],
  ["text\n- a", "text\n- a"],
  ["text\n==", "text"],
  ["text\n12.", "text"],
  ["text\n|", "text"],
  ["text\n```", "text"],
  ["text\n```py", "text"],
  ["text\n```py\n", "text\n```py\n"],
  ["#", ""],
  ["the answer is 42", "the answer is 42"],
]) {
  test(`marks without a text are left out for now: ${JSON.stringify(text)}`, () => {
    assert.equal(withoutMarks(text), shown);
  });
}

for (const [text, closed] of [
  ["a **bo", "a **bo**"],
  ["a **bold ", "a **bold**"],
  ["a **", "a "],
  ["a **b** c", "a **b** c"],
  ["a `co", "a `co`"],
  ["a `**` b", "a `**` b"],
  ["*it", "*it*"],
  ["2 * 3", "2 * 3"],
  ["see [label](htt", "see label"],
  ["see [lab", "see lab"],
  ["- [ ] task", "- [ ] task"],
  ["**first paragraph\n\nsecond", "**first paragraph\n\nsecond"],
]) {
  test(`what is open at the end is closed for now: ${JSON.stringify(text)}`, () => {
    assert.equal(closeInline(text), closed);
  });
}

for (const language of ["python", "js", "sh", "html", "", "nobody-knows"]) {
  test(`the coloured pieces of a code block joined are its text: ${language}`, () => {
    const code = `# "a" 'b\n// c http://x\nif x == 1.5e3: return f("\\"", \`y\`) /* z\n<!-- w -->\n"""open`;

    assert.equal([...pieces(code, language)].map(({ text }) => text).join(""), code);
  });
}

test("code is coloured by its language", () => {
  const kinds = Object.fromEntries([...pieces('return f("x")  # why 1', "python")].map(({ kind, text }) => [text, kind]));

  assert.deepEqual(kinds, { return: "keyword", " ": "", f: "call", "(": "", '"x"': "string", ")  ": "", "# why 1": "comment" });
});

test("a paragraph with too many marks is shown as it is, and what stands around it as ever", () => {
  for (const many of ["*a".repeat(6000), "**_a".repeat(3000), "[".repeat(6000), "`a".repeat(6000)]) {
    const { closed } = splitBlocks(`**bold**\n\n${many}\n\n*italic*`, true);
    const paragraphs = closed.filter((token) => token.type === "paragraph");
    assert.deepEqual(
      paragraphs.map(({ tokens }) => tokens.map(({ type }) => type)),
      [["strong"], ["text"], ["em"]],
    );
    assert.equal(paragraphs[1].tokens[0].text, many);
    assert.equal(closeInline(many), many);
  }
});

test("code may have as many marks as it likes", () => {
  const code = "*".repeat(1000);
  const [token] = splitBlocks(`\`\`\`\n${code}\n\`\`\``, true).closed;
  assert.deepEqual([token.type, token.text], ["code", code]);
});
