// TanStack AI's client leaves a run that it has joined if nothing comes of it for two seconds. That is its own affair,
// and less than a loaded machine may take: here it waits for as long as the tests do. Runs in pages, too.
{
  const { setTimeout } = globalThis;
  const isJoins = (act, ms) => ms === 2_000 && String(act).includes("if (!attached) controller.abort()");
  globalThis.setTimeout = (act, ms, ...given) => setTimeout(act, isJoins(act, ms) ? 30_000 : ms, ...given);
}
