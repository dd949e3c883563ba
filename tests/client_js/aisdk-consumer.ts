// What a page in TypeScript does with our transport for the AI SDK; compiled, never run.
import { AbstractChat as Chat5, type ChatTransport as Transport5, type UIMessage as Message5 } from "ai5";
import { type ChatTransport as Transport6, type UIMessage as Message6 } from "ai6";
import { type ChatTransport as Transport7, type UIMessage as Message7 } from "ai7";
import { RequestError, ResumableChatTransport } from "./resumable_stream/aisdk.js";

const five: Transport5<Message5> = new ResumableChatTransport<Message5>();
const six: Transport6<Message6> = new ResumableChatTransport({ api: "/api/chat" });
const seven = new ResumableChatTransport<Message7>({
  api: "/api/chat",
  headers: async () => ({ Authorization: "Bearer t" }),
  body: () => ({ model: "m" }),
  credentials: () => "include",
  fetch,
  prepareSendMessagesRequest: ({ id, messages, trigger, messageId }) => ({
    body: { id, message: messages.at(-1)?.parts, trigger, messageId },
  }),
  prepareReconnectToStreamRequest: async ({ id }) => ({ api: `/again/${id}` }),
  csrfCookie: null,
  csrfHeader: "X-Token",
  timing: { giveUpAfter: 3 },
  onChange: ({ chatId, state, retryAt }) => console.log(chatId, state === "waiting" ? retryAt : 0),
});
const transport: Transport7<Message7> = seven;
const stopped: boolean = await seven.stop("c");
console.log(five, six, transport, stopped, RequestError, Chat5);

// @ts-expect-error No such option.
new ResumableChatTransport({ url: "/api/chat" });
// @ts-expect-error A message that is sent needs a body.
new ResumableChatTransport({ prepareSendMessagesRequest: () => ({}) });
