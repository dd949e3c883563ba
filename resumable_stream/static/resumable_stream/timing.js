/** How long to wait for what, and when waiting longer makes no sense. */

export const TIMING = {
  longestDelayMs: 30_000,
  giveUpAfter: Infinity,
  // The server comments on an idle stream every 15 s; after two and a half of those the connection is dead.
  silenceMs: 40_000,
  openMs: 10_000,
  pingMs: 20_000,
  pollSeconds: 25,
  random: Math.random,
};

/** Calls `reconnect` whenever the network is back or somebody looks at the tab, until `signal` aborts. */
export function whenItMayHelp(reconnect, signal) {
  const { document } = globalThis;
  globalThis.addEventListener?.("online", reconnect, { signal });
  document?.addEventListener("visibilitychange", () => document.hidden || reconnect(), { signal });
}
