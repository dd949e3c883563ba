/** Puts the page together: which chat is open, and what every control does. */

import { Api } from "./api.js";
import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { setText } from "./dom.js";
import { messageText } from "./fold.js";
import { Line } from "./line.js";
import { LogPanel } from "./log-panel.js";
import { MessageList } from "./render.js";
import { Scroller } from "./scroller.js";
import { Sidebar } from "./sidebar.js";
import { SPOKEN_STATES, answerNote, lineText, wayText } from "./status.js";
import { oncePerFrame } from "./visibility.js";

const CUT_MS = 6_000;
const byId = (id) => document.getElementById(id);
const { home, chatUrl, socketUrl, chatsUrl, logUrl, page } = document.body.dataset;

class App {
  constructor() {
    const urls = { chat: chatUrl, socket: socketUrl, chats: chatsUrl, log: logUrl };
    this.line = new Line();
    this.api = new Api({ urls, csrfToken: byId("csrf-token").content, line: this.line });
    this.log = new LogPanel(byId("log"), { api: this.api });
    this.composer = new Composer(byId("composer"), { send: (text) => this.send(text), stop: () => this.chat.stop() });
    this.sidebar = new Sidebar(byId("chats"), {
      api: this.api,
      chatPath,
      onChoose: (id) => this.go(chatPath(id)),
    });
    this.scroller = new Scroller(byId("scroll"), byId("messages"), (isAtEnd) => {
      byId("jump").hidden = isAtEnd;
    });
    this.redraw = oncePerFrame(() => this.draw());
    this.line.addEventListener("change", this.redraw);
    // Countdowns and silences change by themselves.
    setInterval(() => (this.chat.isBusy || this.line.until) && this.redraw(), 500);
    this.connectControls();
  }

  connectControls() {
    byId("new-chat").addEventListener("click", (event) => {
      event.preventDefault();
      this.go(home);
    });
    byId("earlier").addEventListener("click", () => this.chat.loadEarlier());
    byId("jump").addEventListener("click", () => this.scroller.toEnd());
    byId("connection").addEventListener("click", () => this.line.tryNow());
    byId("cut").addEventListener("click", () => this.line.cut(CUT_MS));
    byId("log-toggle").addEventListener("click", () => this.openLog(!this.log.isOpen));
    byId("log-close").addEventListener("click", () => this.openLog(false));
    byId("menu").addEventListener("click", () => this.openSidebar(true));
    byId("backdrop").addEventListener("click", () => this.openSidebar(false));
    for (const button of document.querySelectorAll(".suggestion")) {
      button.addEventListener("click", () => this.composer.isReady && this.send(button.textContent.trim()));
    }
    addEventListener("popstate", () => this.openFromAddress());
    addEventListener("keydown", (event) => event.key === "Escape" && this.openSidebar(false));
  }

  start() {
    this.openLog(localStorage.getItem("log") === "open");
    this.openFromAddress();
    this.sidebar.refresh();
  }

  go(path) {
    if (path !== location.pathname) history.pushState(null, "", path);
    this.openFromAddress();
    this.openSidebar(false);
    this.composer.focus();
  }

  openFromAddress() {
    const id = location.pathname.startsWith(page) ? location.pathname.slice(page.length) : "";
    if (id && this.chat?.id === id) return;
    this.chat?.close();
    this.chat = new Chat({ id: id || crypto.randomUUID(), api: this.api, line: this.line, isNew: !id });
    byId("messages").replaceChildren();
    this.messages = new MessageList(byId("messages"), { retry: () => this.retry() });
    this.chat.addEventListener("change", () => this.onProgress());
    this.progress = { cursor: 0, at: Date.now() };
    this.sidebar.select(this.chat.id);
    this.scroller.toEnd();
    this.chat.open();
    // Not with the next frame: what somebody has typed already would be taken for nothing until then.
    this.draw();
  }

  onProgress() {
    if (this.chat.cursor !== this.progress.cursor) this.progress = { cursor: this.chat.cursor, at: Date.now() };
    this.redraw();
  }

  send(text) {
    const wasNew = this.chat.isNew;
    this.chat.send(text);
    if (wasNew) history.replaceState(null, "", chatPath(this.chat.id));
    this.scroller.toEnd();
    this.progress.at = Date.now();
  }

  retry() {
    this.progress.at = Date.now();
    this.chat.retry();
    this.scroller.toEnd();
  }

  draw() {
    const { chat, line } = this;
    this.messages.render(chat, answerNote(line, chat, Date.now() - this.progress.at));
    this.composer.update(chat);
    this.drawHead();
    byId("welcome").hidden = !chat.isLoaded || chat.messages.length > 0 || chat.unsent !== null || chat.problem !== "";
    byId("loading").hidden = chat.isLoaded;
    byId("earlier").hidden = chat.earliest === null;
    byId("earlier").disabled = chat.isLoadingEarlier;
    byId("problem").hidden = !chat.problem;
    setText(byId("problem"), chat.problem);
    this.log.show(chat.isNew ? null : chat.id);
    this.log.setCursor(chat.cursor);
    this.scroller.follow();
  }

  drawHead() {
    const { chat, line } = this;
    const first = chat.messages.find((message) => message.role === "user");
    const title = first ? messageText(first).split("\n")[0].slice(0, 80) : "";
    setText(byId("title"), title || "New chat");
    document.title = title || "Resumable chat";
    if (title && !chat.isNew && !this.sidebar.titleOf(chat.id)) this.announce(title);
    byId("connection").dataset.state = line.state;
    setText(byId("connection-text"), lineText(line));
    setText(byId("connection-way"), wayText(line));
    if (SPOKEN_STATES[line.state]) setText(byId("connection-spoken"), SPOKEN_STATES[line.state]);
    byId("cut").disabled = line.state === "cut" || chat.isNew;
    byId("second-tab").href = chatPath(chat.id);
    byId("second-tab").hidden = chat.isNew;
  }

  announce(title) {
    this.sidebar.add(this.chat.id, title);
    this.sidebar.tellOtherTabs();
  }

  openLog(isOpen) {
    this.log.setOpen(isOpen);
    byId("log-toggle").setAttribute("aria-expanded", String(isOpen));
    localStorage.setItem("log", isOpen ? "open" : "closed");
  }

  openSidebar(isOpen) {
    if (isOpen === document.body.classList.contains("has-sidebar")) return;
    document.body.classList.toggle("has-sidebar", isOpen);
    byId("menu").setAttribute("aria-expanded", String(isOpen));
    byId(isOpen ? "new-chat" : "menu").focus();
  }
}

function chatPath(id) {
  return page + id;
}

new App().start();
