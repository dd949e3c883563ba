// What a page in TypeScript does with our connection for TanStack AI; compiled, never run.
import { ConnectionError, createConnection, createS2Connection } from "./resumable_stream/tanstack.js";

const session = createConnection({
  mode: "session",
  sendUrl: "/api/chat",
  stopUrl: () => "/api/chat",
  subscribeUrl: (cursor) => `/api/chat/replay?id=c&seen=${cursor ?? ""}`,
  headers: async () => ({ "X-CSRFToken": "t" }),
  body: { id: "c" },
  credentials: "include",
});
for await (const chunk of session.subscribe(new AbortController().signal)) console.log(chunk.type);
await session.send([], {}, undefined, { runId: "r", threadId: "t" });
const stopped: boolean = await session.stop();

const single = createS2Connection({ sendUrl: "/api/chat", fetch, body: () => ({ id: "c" }) });
for await (const chunk of single.connect([])) console.log(chunk.type, stopped);

const status: number | undefined = new ConnectionError("No.").status;
console.log(status);

// @ts-expect-error Where to send must be said.
createConnection({ mode: "session" });
// @ts-expect-error Without a subscription there is nothing to subscribe to.
single.subscribe();
