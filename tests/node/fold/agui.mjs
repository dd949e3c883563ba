// What AG-UI's HttpAgent makes of events: its transport, its schemas, its verifier and its reducer, over a stream as
// from a server. The first argument is the library's version.
import { serve } from "../rpc.mjs";

const name = { "1.0": "@ag-ui/client", "0.0.59": "ag-ui-client-0-0-59" }[process.argv[2]];
const { HttpAgent } = await import(name);

const warnings = [];
console.warn = (...texts) => warnings.push(texts.join(" "));
console.error = () => {};

function eventStream(chunks) {
  const body = chunks.map((chunk) => `data: ${chunk}\n\n`).join("");
  return new Response(body, { headers: { "content-type": "text/event-stream" } });
}

await serve({
  // Plays runs, each with what the user says before it; tells the messages, what the runs failed at, and each warning.
  async runs({ runs }) {
    warnings.length = 0;
    let chunks;
    const agent = new HttpAgent({ url: "http://127.0.0.1/", fetch: async () => eventStream(chunks) });
    const errors = [];
    const outcomes = [];
    const subscriber = { onRunFinishedEvent: ({ event }) => { outcomes.push(event.outcome?.type ?? null); } };
    for (const run of runs) {
      chunks = run.chunks;
      for (const user of run.users) agent.addMessage(user);
      try {
        await agent.runAgent({ runId: run.runId }, subscriber);
      } catch (error) {
        errors.push(error.message);
      }
    }
    return { messages: agent.messages, errors, outcomes, warnings };
  },
});
