/** Types of `aisdk.js`. `M` is your `UIMessage`; the AI SDK itself is not imported. */

import { RequestError, type Timing } from "./client.js";

export { RequestError };

type Json = Record<string, unknown>;
type HeaderValues = Record<string, string | undefined> | Headers;
type OrFunction<T> = T | (() => T | PromiseLike<T>);
type Trigger = "submit-message" | "regenerate-message";
/** A `UIMessageChunk` of the AI SDK. */
type Chunk = any;

/** What a page adds to one request. */
export interface CallOptions {
  headers?: Record<string, string> | Headers;
  body?: object;
  metadata?: unknown;
}

/** What is about to be requested, for functions that prepare it otherwise. */
export interface RequestToPrepare {
  api: string;
  id: string;
  requestMetadata: unknown;
  body: Json | undefined;
  headers: HeadersInit | undefined;
  credentials: RequestCredentials | undefined;
}

export interface ResumableChatTransportOptions<M = any> {
  /** The prefix of the chat's URLs. Default: "/api/chat". */
  api?: string;
  /** Sent with every request. A function is asked before each one. */
  headers?: OrFunction<HeaderValues>;
  /** Merged into the body of every message that is sent. */
  body?: OrFunction<object>;
  /** Default: "same-origin". */
  credentials?: OrFunction<RequestCredentials>;
  fetch?: typeof globalThis.fetch;
  /** As for `DefaultChatTransport`: returns what is to be sent instead. */
  prepareSendMessagesRequest?: (
    request: RequestToPrepare & { messages: M[]; trigger: Trigger; messageId: string | undefined },
  ) => Prepared<{ body: object }> | PromiseLike<Prepared<{ body: object }>>;
  /** As for `DefaultChatTransport`; asked before each reconnect, also of an answer that was sent from here. */
  prepareReconnectToStreamRequest?: (request: RequestToPrepare) => Prepared<{}> | PromiseLike<Prepared<{}>>;
  /** The cookie that has Django's CSRF token, which goes with every request to the page's own site. Default: "csrftoken"; null: none. */
  csrfCookie?: string | null;
  /** Default: "X-CSRFToken". */
  csrfHeader?: string;
  /** Defaults: those of `StreamClient`, but `openMs` is 30000. */
  timing?: Partial<Timing>;
  /** Told of every change: "waiting" means that the connection is lost, and tried again at `retryAt`. */
  onChange?: (change: { chatId: string; state: "connecting" | "open" | "waiting" | "over"; retryAt: number }) => void;
}

type Prepared<More> = More & { api?: string; headers?: HeadersInit; credentials?: RequestCredentials };

/** A `ChatTransport` of the AI SDK 5, 6 and 7. */
export declare class ResumableChatTransport<M = any> {
  constructor(options?: ResumableChatTransportOptions<M>);
  sendMessages(
    options: {
      trigger: Trigger;
      chatId: string;
      messageId: string | undefined;
      messages: M[];
      abortSignal: AbortSignal | undefined;
    } & CallOptions,
  ): Promise<ReadableStream<Chunk>>;
  reconnectToStream(
    options: { chatId: string; abortSignal?: AbortSignal } & CallOptions,
  ): Promise<ReadableStream<Chunk> | null>;
  /** Stop the answer on the server, wherever it is written. False if none ran. */
  stop(chatId: string): Promise<boolean>;
}
