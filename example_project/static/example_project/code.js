/** Code blocks: a heading with the language, a button that copies, and colours for what most languages share. */

import { copyButton, h } from "./dom.js";

const KEYWORDS = new Set(
  (
    "and as assert async await break case catch class const continue def default del delete do done elif else enum esac " +
    "except export extends extern false False fi finally fn for from func function global if impl import in interface is " +
    "lambda let match mod mut new nil None nonlocal not null of or package pass pub raise return self static struct " +
    "super switch then this throw trait true True try type typeof undefined use var void while with yield"
  ).split(" "),
);
const HASH_COMMENTS = new Set(["bash", "console", "dockerfile", "ini", "make", "py", "python", "ruby", "sh", "shell", "toml", "yaml", "yml"]);
const PLAIN = new Set(["", "md", "markdown", "plain", "text", "txt"]);

const STRING = String.raw`"""[\s\S]*?(?:"""|$)|'''[\s\S]*?(?:'''|$)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?`;
const REST = String.raw`(?<number>\b\d[\w.]*)|(?<name>[A-Za-z_$][\w$]*)`;
const HASH = new RegExp(String.raw`(?<comment>(?<![\w$])#[^\n]*)|(?<string>${STRING})|${REST}`, "g");
const SLASH = new RegExp(
  String.raw`(?<comment>(?<!:)//[^\n]*|/\*[\s\S]*?(?:\*/|$)|<!--[\s\S]*?(?:-->|$))|(?<string>${STRING}|${"`"}[^${"`"}]*${"`"}?)|${REST}`,
  "g",
);

/** Gives the code block around `code` its heading and colours. */
export function decorateCode(code) {
  const language = /language-(\S+)/.exec(code.className)?.[1].toLowerCase() ?? "";
  const text = code.textContent.replace(/\n$/, "");
  code.replaceChildren(...colour(text, language));
  const pre = code.parentElement;
  const block = h("div", { class: "code" });
  pre.replaceWith(block);
  pre.tabIndex = 0; // So that the keyboard can scroll it.
  block.append(h("div", { class: "code-head" }, h("span", {}, language || "text"), copyButton("Copy code", () => text)), pre);
}

function colour(text, language) {
  return [...pieces(text, language)].map(({ kind, text }) => (kind ? h("span", { class: `code-${kind}` }, text) : text));
}

/** Yields the text in pieces, each with its kind: "comment", "string", "number", "keyword", "call" or "". */
export function* pieces(text, language) {
  if (PLAIN.has(language)) return yield { kind: "", text };
  let end = 0;
  for (const match of text.matchAll(HASH_COMMENTS.has(language) ? HASH : SLASH)) {
    const kind = kindOf(match, text);
    if (!kind) continue;
    if (match.index > end) yield { kind: "", text: text.slice(end, match.index) };
    yield { kind, text: match[0] };
    end = match.index + match[0].length;
  }
  if (end < text.length) yield { kind: "", text: text.slice(end) };
}

function kindOf(match, text) {
  const { name } = match.groups;
  if (name === undefined) return Object.keys(match.groups).find((group) => match.groups[group] !== undefined);
  if (KEYWORDS.has(name)) return "keyword";
  return text[match.index + name.length] === "(" ? "call" : "";
}
