// What an app writes against the client's types. It is checked, and never run.
import { END, RequestError, StreamClient, type End, type Following, type Transport } from "./resumable_stream/client.js";

interface TextDelta {
  type: "text-delta";
  delta: string;
}

const client = new StreamClient({
  url: "/api/chat",
  websocket: "/ws/chat",
  headers: async () => ({ "X-CSRFToken": "token" }),
  timing: { longestDelayMs: 10_000, giveUpAfter: 20 },
  transports: ["websocket", "sse"],
});

export async function show(chatId: string, signal: AbortSignal): Promise<string> {
  const following = client.follow<TextDelta>(chatId, { from: 17, live: true, signal });
  let text = "";
  for await (const { id, chunk } of following) {
    text += chunk.delta;
    const cursor: number | null = id;
    if (cursor === null) break;
  }
  return explain(await following.ended);
}

export function explain(end: End): string {
  switch (end.reason) {
    case END.FINISHED:
    case END.STOPPED:
    case END.NOTHING:
      return "";
    case END.FAILED:
    case END.INTERRUPTED:
    case END.FORBIDDEN:
    case END.REFUSED:
      return end.error ?? String(end.status);
    case END.GAVE_UP:
    case END.CLOSED:
      return "Gone.";
    default: {
      const none: never = end.reason;
      return none;
    }
  }
}

export async function ask(text: string): Promise<Transport | null> {
  const answer: Following = client.start(
    { id: "c", message: text },
    { key: "k", onChunk: ({ chunk }) => console.log(chunk), onChange: ({ state }) => console.log(state) },
  );
  const { generation } = await answer.opened;
  try {
    const wasRunning: boolean = await client.stop("c", { generation });
    console.log(wasRunning);
  } catch (error) {
    if (error instanceof RequestError && error.isPassing) client.reconnect();
  }
  const { messages, cursor } = await client.messages<{ id: string }>("c");
  console.log(messages[0]?.id, cursor.toFixed());
  client.close();
  return answer.transport;
}

// @ts-expect-error - an address is needed
new StreamClient({});
// @ts-expect-error - there is no such way
new StreamClient({ url: "/api/chat", transports: ["carrier pigeon"] });
// @ts-expect-error - chunks have no type until one is named
client.follow("c", { onChunk: ({ chunk }) => chunk.delta });
// @ts-expect-error - a following is made by a client
new Following();
