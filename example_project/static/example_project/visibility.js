/** What a hidden tab must do differently. */

/** Calls `callback` each time the tab has been hidden for another `ms`, until `signal` aborts. */
export function onLongHidden(ms, signal, callback) {
  let timer;
  const look = () => {
    clearInterval(timer);
    if (document.hidden) timer = setInterval(callback, ms);
  };
  document.addEventListener("visibilitychange", look, { signal });
  signal.addEventListener("abort", () => clearInterval(timer));
  look();
}

const CHEAP_MS = 8;
const LONGEST_WAIT_MS = 250;

/**
 * Returns a function that runs `draw` once before the next frame, however often it is called until then. Where drawing
 * is slow, the pauses grow with it: the page stays usable while a very long block is being written.
 */
export function oncePerFrame(draw) {
  let pending = null;
  let pause = 0;
  const run = () => {
    cancelAnimationFrame(pending.frame);
    clearTimeout(pending.timer);
    pending = null;
    const started = performance.now();
    draw();
    const cost = performance.now() - started;
    pause = cost > CHEAP_MS ? 3 * cost : 0;
  };
  return () => {
    if (pending) return;
    // Tabs that nobody sees get no frames, and their content would grow stale.
    pending = { timer: setTimeout(run, pause || LONGEST_WAIT_MS) };
    if (!pause) pending.frame = requestAnimationFrame(run);
  };
}
