// What Anthropic's SDK makes of an event stream: its parser first, then the stream class that gathers a message.
import { MessageStream } from "@anthropic-ai/sdk/lib/MessageStream";
import { Stream } from "@anthropic-ai/sdk/core/streaming";

import { serve } from "../rpc.mjs";

await serve({
  // Gathers the message of a body, and tells the raw events, the error and what there was of the message by then.
  async gather({ body }) {
    const response = new Response(body, { headers: { "content-type": "text/event-stream" } });
    const raw = Stream.fromSSEResponse(response, new AbortController());
    const stream = MessageStream.fromReadableStream(raw.toReadableStream());
    const events = [];
    let current;
    stream.on("streamEvent", (event, message) => {
      events.push(event.type);
      current = message;
    });
    try {
      return { message: await stream.finalMessage(), events };
    } catch (error) {
      return { error: error.error?.error?.message ?? error.message, message: current ?? null, events };
    }
  },
});
