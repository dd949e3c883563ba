/** Where questions are written: Enter sends, Shift+Enter makes a new line, Escape stops the answer. */

export class Composer {
  /** `actions`: `send(text)` and `stop()`. */
  constructor(form, actions) {
    this.prompt = form.querySelector("textarea");
    this.sendButton = form.querySelector("#send");
    this.stopButton = form.querySelector("#stop");
    this.actions = actions;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.prompt.addEventListener("keydown", (event) => this.#onKey(event));
    this.prompt.addEventListener("input", () => this.#onInput());
    this.stopButton.addEventListener("click", () => actions.stop());
  }

  update({ isBusy, isStopping, isLoaded }) {
    this.isReady = isLoaded && !isBusy;
    // Whoever pressed the one button and is still on it, goes on to the other.
    const hadFocus = [this.sendButton, this.stopButton].includes(document.activeElement);
    this.sendButton.hidden = isBusy;
    this.stopButton.hidden = !isBusy;
    this.stopButton.disabled = isStopping;
    this.#onInput();
    if (hadFocus && document.activeElement === document.body) this.prompt.focus();
  }

  focus() {
    this.prompt.focus();
  }

  #onKey(event) {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      this.#send();
    } else if (event.key === "Escape") {
      this.actions.stop();
    }
  }

  #onInput() {
    this.sendButton.disabled = !this.isReady || !this.prompt.value.trim();
    if (CSS.supports("field-sizing", "content")) return;
    this.prompt.style.height = "auto";
    this.prompt.style.height = `${this.prompt.scrollHeight}px`;
  }

  #send() {
    const text = this.prompt.value.trim();
    if (!text || !this.isReady) return;
    this.prompt.value = "";
    this.#onInput();
    this.actions.send(text);
  }
}
