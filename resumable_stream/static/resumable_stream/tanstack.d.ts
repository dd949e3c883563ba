type Json = Record<string, unknown>;
type Chunk = any; // TanStack AI's StreamChunk.
type OrFunction<T> = T | (() => T | Promise<T>);

export interface ConnectionOptions {
  /** The view's `mode`. Default: "single-use". */
  mode?: "session" | "shared" | "single-use";
  /** Where messages are POSTed: the prefix of the chat's URLs. */
  sendUrl: string | (() => string);
  /** Where DELETE stops what runs. Default: `sendUrl`. */
  stopUrl?: string | (() => string);
  /** Where the chat is followed: `<prefix>/replay?id=<chat>`. A function is given the cursor, if one is known. */
  subscribeUrl?: string | ((cursor?: string) => string);
  /** Sent with every request, for instance Django's `X-CSRFToken`. */
  headers?: OrFunction<Record<string, string> | Headers>;
  /** Merged into every body; must hold the chat's `id`. */
  body?: OrFunction<Json>;
  fetch?: typeof globalThis.fetch;
  /** Default: "same-origin". */
  credentials?: RequestCredentials;
}

export interface RunContext {
  threadId?: string;
  runId?: string;
  headers?: Record<string, string>;
}

export interface Stoppable {
  /** Stop the answer on the server, wherever it is written. False if nothing ran. */
  stop(): Promise<boolean>;
}

export interface SubscribeConnection extends Stoppable {
  subscribe(signal?: AbortSignal): AsyncIterable<Chunk>;
  send(messages: any[], data?: Json, signal?: AbortSignal, context?: RunContext): Promise<void>;
}

export interface ConnectConnection extends Stoppable {
  connect(messages: any[], data?: Json, signal?: AbortSignal, context?: RunContext): AsyncIterable<Chunk>;
}

/** An answer of the server that no further attempt can change; its message is worded for people. */
export class ConnectionError extends Error {
  status?: number;
}

export function createConnection(options: ConnectionOptions & { subscribeUrl: {} }): SubscribeConnection;
export function createConnection(options: ConnectionOptions): ConnectConnection;
export { createConnection as createS2Connection };
