/** The list of the visitor's chats, kept alike in all tabs. */

import { h } from "./dom.js";

export class Sidebar {
  #chats = [];
  #currentId = null;
  #otherTabs = new BroadcastChannel("chats");

  /** `onChoose(chatId)` is called when a chat is chosen in this tab. */
  constructor(element, { api, chatPath, onChoose }) {
    Object.assign(this, { element, api, chatPath, onChoose });
    this.#otherTabs.addEventListener("message", () => this.refresh());
    document.addEventListener("visibilitychange", () => document.hidden || this.refresh());
  }

  async refresh() {
    try {
      this.#chats = await this.api.chats();
    } catch {
      return; // The list stays as it is; the chat itself says that the server is away.
    }
    this.#draw();
  }

  select(chatId) {
    this.#currentId = chatId;
    this.#draw();
  }

  /** Puts a chat that has just begun on top, before the server's own list says so. */
  add(chatId, title) {
    if (this.#chats.some((chat) => chat.id === chatId)) return;
    this.#chats = [{ id: chatId, title }, ...this.#chats];
    this.#draw();
  }

  tellOtherTabs() {
    this.#otherTabs.postMessage("changed");
  }

  titleOf(chatId) {
    return this.#chats.find((chat) => chat.id === chatId)?.title ?? "";
  }

  #draw() {
    this.element.replaceChildren(...this.#chats.map((chat) => h("li", {}, this.#link(chat))));
    this.element.toggleAttribute("data-empty", this.#chats.length === 0);
  }

  #link({ id, title }) {
    const link = h("a", { href: this.chatPath(id), title }, title || "Untitled chat");
    if (id === this.#currentId) link.setAttribute("aria-current", "page");
    link.addEventListener("click", (event) => {
      // With a modifier the browser opens another tab, as people expect of a link.
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      this.onChoose(id);
    });
    return link;
  }
}
