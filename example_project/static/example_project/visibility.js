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

/**
 * Returns a function that runs `draw` once before the next frame, however often it is called until then. Where drawing
 * is slow, the pauses grow with it: the page stays usable while a very long block is being written.
 */
export function oncePerFrame(draw) {
  let isPending = false;
  let pause = 0;
  const run = () => {
    isPending = false;
    const started = performance.now();
    draw();
    const cost = performance.now() - started;
    pause = cost > CHEAP_MS ? 3 * cost : 0;
  };
  return () => {
    if (isPending) return;
    isPending = true;
    // Hidden tabs get no frames, and their content would grow stale.
    if (document.hidden || pause) setTimeout(run, document.hidden ? 250 : pause);
    else requestAnimationFrame(run);
  };
}
