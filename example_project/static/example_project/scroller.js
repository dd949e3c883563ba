/** Keeps the end of a growing content in view, but only for readers who are there. */

const NEAR_PX = 40;

export class Scroller {
  #isAtEnd = true;
  #top = 0;

  /** `onChange(isAtEnd)` is called when the reader leaves the end or comes back to it. */
  constructor(element, content, onChange = () => {}) {
    this.element = element;
    this.onChange = onChange;
    element.addEventListener("scroll", () => this.#look(), { passive: true });
    // Both grow the distance without a scroll: more content, and less room (a keyboard, another panel).
    const watch = new ResizeObserver(() => this.follow());
    watch.observe(element);
    watch.observe(content);
  }

  /** Goes to the end if the reader was there. */
  follow() {
    if (this.#isAtEnd) this.element.scrollTop = this.element.scrollHeight;
  }

  toEnd() {
    this.#isAtEnd = true;
    this.follow();
    this.onChange(true);
  }

  #look() {
    const { scrollHeight, scrollTop, clientHeight } = this.element;
    const isNear = scrollHeight - scrollTop - clientHeight <= NEAR_PX;
    // Content that grows between our own scroll and its event leaves the end too; only going up is the reader's will.
    const isAtEnd = isNear || (this.#isAtEnd && scrollTop >= this.#top);
    this.#top = scrollTop;
    if (isAtEnd === this.#isAtEnd) return;
    this.#isAtEnd = isAtEnd;
    this.onChange(isAtEnd);
  }
}
