/**
 * Markdown that is shown while it is being written.
 *
 * Text is cut into top-level blocks. All but the last are closed: they are rendered once and never touched again, so an
 * answer of any length costs what its open block costs. What the parser makes of a text is sanitised before it becomes
 * part of the page.
 */

import { decorateCode } from "./code.js";
import { h } from "./dom.js";
import DOMPurify from "./vendor/dompurify.js";
import { Lexer, Marked } from "./vendor/marked.js";

const marked = new Marked({
  renderer: {
    // A picture would be fetched from elsewhere; a link says where it is and leaves that to the reader.
    image({ href, text }) {
      const label = { type: "text", raw: text || href, text: text || href };
      return this.parser.parseInline([{ type: "link", href, tokens: [label] }]);
    },
  },
});

const ALLOWED_TAGS =
  "a b blockquote br code dd del details dl dt em h1 h2 h3 h4 h5 h6 hr i input kbd li ol p pre s strong sub summary sup " +
  "table tbody td th thead tr ul";
const SANITISE = {
  ALLOWED_TAGS: ALLOWED_TAGS.split(" "),
  ALLOWED_ATTR: ["align", "checked", "class", "disabled", "href", "start", "title", "type"],
  RETURN_DOM_FRAGMENT: true,
};

if (DOMPurify.isSupported) DOMPurify.addHook("afterSanitizeAttributes", tameElement);

/** Sends links to a new tab, and leaves an element no way to look like a part of the page. */
function tameElement(element) {
  if (!/^language-[\w+#-]+$/.test(element.className)) element.removeAttribute("class");
  if (element.tagName === "INPUT") element.replaceWith(element.type === "checkbox" ? (element.checked ? "☑" : "☐") : "");
  if (element.tagName !== "A") return;
  if (/^(https?|mailto):/.test(element.getAttribute("href") ?? "")) {
    element.target = "_blank";
    element.rel = "noopener noreferrer";
  } else {
    // An address within the text's own home, which is not here.
    element.removeAttribute("href");
  }
}

/** An element that shows a growing Markdown text. */
export class StreamingMarkdown {
  #text = null;
  #isDone = false;
  #closedLength = 0;
  #links = {};
  #openNodes = [];

  constructor(element) {
    this.element = element;
  }

  /** Shows `text`, which usually continues what was shown before; `isDone` says that it will not grow any more. */
  update(text, isDone) {
    if (text === this.#text && isDone === this.#isDone) return;
    if (this.#text !== null && !text.startsWith(this.#text)) this.#reset();
    this.#text = text;
    this.#isDone = isDone;
    this.#draw(text.includes("\r") ? text.replace(/\r\n?/g, "\n") : text);
    // A reference may be defined after it was used: then only the whole text shows it right.
    if (isDone && Object.keys(this.#links).length) {
      this.#reset({ keepLinks: true });
      this.#draw(text);
    }
  }

  #draw(text) {
    const { closed, open } = splitBlocks(text.slice(this.#closedLength), this.#isDone, this.#links);
    this.element.querySelector(".caret")?.remove();
    for (const node of this.#openNodes) node.remove();
    this.element.append(...closed.flatMap((token) => this.#nodes([token])));
    this.#closedLength += rawLength(closed);
    this.#openNodes = open.length ? this.#nodes(lex(tidy(open), this.#links)) : [];
    this.element.append(...this.#openNodes);
    if (!this.#isDone) placeCaret(this.element);
  }

  #nodes(tokens) {
    const fragment = DOMPurify.sanitize(marked.parser(tokens), SANITISE);
    decorate(fragment);
    return [...fragment.childNodes];
  }

  #reset({ keepLinks = false } = {}) {
    this.element.replaceChildren();
    this.#closedLength = 0;
    this.#openNodes = [];
    if (!keepLinks) this.#links = {};
  }
}

/** Cuts `text` into tokens that cannot change any more and those that may; `links` collects definitions. */
export function splitBlocks(text, isDone, links = {}) {
  if (isDone) return { closed: lex(text, links), open: [] };
  const tokens = lex(withoutMarks(text), links);
  const last = Math.max(0, tokens.findLastIndex((token) => token.type !== "space"));
  return { closed: tokens.slice(0, last), open: tokens.slice(last) };
}

/** Marks in one paragraph, beyond which it is shown as it is: what they cost the parser grows with their square. */
export const MOST_MARKS = 300;

function hasTooManyMarks(text) {
  return (text.match(/[*_~`[\]<!]/g) ?? []).length > MOST_MARKS;
}

class BoundedLexer extends Lexer {
  inlineTokens(text, tokens = []) {
    if (!hasTooManyMarks(text)) return super.inlineTokens(text, tokens);
    tokens.push({ type: "text", raw: text, text, escaped: false });
    return tokens;
  }
}

function lex(text, links) {
  const lexer = new BoundedLexer(marked.defaults);
  Object.assign(lexer.tokens.links, links);
  const tokens = lexer.lex(text);
  Object.assign(links, tokens.links);
  return [...tokens];
}

export function rawLength(tokens) {
  return tokens.reduce((length, token) => length + token.raw.length, 0);
}

const LONE_MARKS = /(^|\n)[ \t]*(?:[-*+_=>#|~]+|`{1,2}|`{3,}[^\n]*|\d{1,9}[.)]?)[ \t]*$/;

/**
 * Leaves out a last line that so far is nothing but marks: a lone "-" below a paragraph would turn it into a heading
 * until the item's first word arrives.
 */
export function withoutMarks(text) {
  return text.replace(LONE_MARKS, "");
}

/** Returns the text of the open block with what is opened in its last paragraph closed, as the writer will. */
function tidy(open) {
  const raw = open.map((token) => token.raw).join("");
  return open[0].type === "code" || open[0].type === "html" ? raw : closeInline(raw);
}

export function closeInline(text) {
  const start = text.lastIndexOf("\n\n") + 1;
  if (hasTooManyMarks(text.slice(start))) return text;
  const last = text
    .slice(start)
    .replace(/!?\[([^\]\n]*)\]\([^)\n]*$/, "$1")
    .replace(/!?\[(?![ x]\])([^\]\n]*)$/, "$1");
  const plain = last.replace(/(`+)[^`\n]*?\1/g, "");
  if (plain.includes("`")) return text.slice(0, start) + closeWith("`", last);
  const isBoldOpen = (plain.match(/\*\*/g) ?? []).length % 2 === 1;
  if (isBoldOpen) return text.slice(0, start) + closeWith("**", last);
  const isItalicOpen = /(?:^|[\s(])\*(?=[^\s*])[^*\n]*$/.test(plain);
  return text.slice(0, start) + (isItalicOpen ? closeWith("*", last) : last);
}

function closeWith(mark, text) {
  const trimmed = text.trimEnd();
  return trimmed.endsWith(mark) ? trimmed.slice(0, -mark.length) : trimmed + mark;
}

function decorate(fragment) {
  for (const code of fragment.querySelectorAll("pre > code")) decorateCode(code);
  for (const table of fragment.querySelectorAll("table")) {
    const scroller = h("div", { class: "table" });
    table.replaceWith(scroller);
    scroller.append(table);
  }
}

const MAY_HOLD_CARET = new Set(["BLOCKQUOTE", "CODE", "DIV", "LI", "OL", "P", "PRE", "TABLE", "TBODY", "TD", "TH", "TR", "UL"]);

/** Puts the caret behind the last word, however deep it stands. */
function placeCaret(element) {
  let place = element;
  for (;;) {
    const last = [...place.childNodes].findLast((node) => node.nodeType === 1 || node.data.trim());
    const isBlock = last?.nodeType === 1 && (MAY_HOLD_CARET.has(last.tagName) || /^H[1-6]$/.test(last.tagName));
    if (!isBlock || (last.tagName === "CODE" && place.tagName !== "PRE")) break;
    place = last;
  }
  place.append(h("span", { class: "caret", "aria-hidden": "true" }));
}
