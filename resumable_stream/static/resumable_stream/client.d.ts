/** Types of `client.js`. */

/** Why following ended. */
export type EndReason =
  /** The answer came to its end. */
  | "finished"
  /** Somebody stopped the answer. */
  | "stopped"
  /** The answer's producer failed; `error` has words for people. */
  | "failed"
  /** The server that wrote the answer is gone; `error` has words for people. */
  | "interrupted"
  /** Nothing runs, and you have all there is. */
  | "nothing"
  /** There is no such stream, or no right to it. */
  | "forbidden"
  /** The server refuses the request for another reason; `status` and `error` say which. */
  | "refused"
  /** It was tried as often as `giveUpAfter` allows. */
  | "gave_up"
  /** You left: by `close()`, by leaving the loop, or by the AbortSignal. */
  | "closed";

export declare const END: {
  readonly FINISHED: "finished";
  readonly STOPPED: "stopped";
  readonly FAILED: "failed";
  readonly INTERRUPTED: "interrupted";
  readonly NOTHING: "nothing";
  readonly FORBIDDEN: "forbidden";
  readonly REFUSED: "refused";
  readonly GAVE_UP: "gave_up";
  readonly CLOSED: "closed";
};

/** Others may be added. */
export type Cause = "shutdown" | "lease-expired" | "taken-over" | "limit-exceeded" | (string & {});

export interface End {
  reason: EndReason;
  /** Where to go on; null if not even the first chunk came. */
  cursor: number | null;
  /** The generation that ended, or for a refused start the one that is in the way, where the server names it. */
  generation?: string | null;
  /** For people. */
  error?: string;
  /** Why the answer was interrupted or over a limit, where the server tells it. */
  cause?: Cause;
  /** The HTTP status of a refusal. */
  status?: number;
}

/** A chunk, with the cursor after it; null where the log does not have it (it rebuilds what an answer continues). */
export interface StreamEvent<Chunk = unknown> {
  id: number | null;
  chunk: Chunk;
}

export type State = "connecting" | "open" | "waiting" | "over";
export type Transport = "websocket" | "sse" | "poll";

export interface FollowOptions<Chunk = unknown> {
  /** Where to go on; default: what is being written, from its start. */
  from?: number | null;
  /** Whether to go on from answer to answer; default: to the end of the newest. */
  live?: boolean;
  signal?: AbortSignal;
  /** Takes the chunks; then they cannot be iterated over. */
  onChunk?(event: StreamEvent<Chunk>, following: Following<Chunk>): void;
  /** All that was on the log when the server looked has come; only a websocket tells. */
  onCaughtUp?(following: Following<Chunk>): void;
  /** The state, or the transport, has changed. */
  onChange?(following: Following<Chunk>): void;
  /** It is over; on a live stream also: an answer is. */
  onEnd?(end: End): void;
}

export interface StartOptions<Chunk = unknown> extends Omit<FollowOptions<Chunk>, "from" | "live"> {
  /** The idempotency key; default: random. */
  key?: string;
}

/** A stream that is being followed. Iterate over it, or give it an `onChunk`; without either it comes to a halt. */
export declare class Following<Chunk = unknown> implements AsyncIterable<StreamEvent<Chunk>> {
  private constructor();
  readonly stream: string;
  /** Where to go on. */
  readonly cursor: number | null;
  readonly state: State;
  /** The way in use, while it is open. */
  readonly transport: Transport | null;
  /** When the next try begins, in milliseconds since the Unix epoch; 0 if none is waited for. */
  readonly retryAt: number;
  readonly generation: string | null;
  /** How it ended, as soon as it is over. */
  readonly end: End | null;
  /** Resolves as soon as it is open for the first time, or over. */
  readonly opened: Promise<Following<Chunk>>;
  /** Resolves to how it ended. Never rejects. */
  readonly ended: Promise<End>;
  /** Leaves the stream; the answer goes on being written. */
  close(): void;
  /** Tries at once instead of after the rest of the delay. */
  reconnect(): void;
  /** Yields until the stream is over; leaving the loop leaves the stream. */
  [Symbol.asyncIterator](): AsyncGenerator<StreamEvent<Chunk>, void, void>;
}

export interface Timing {
  /** Before the first reconnect; default: 1000, or what the server says in `retry:`. */
  firstDelayMs?: number;
  /** Delays double up to this; default: 30000. `Retry-After` may ask for more. */
  longestDelayMs?: number;
  /** Tries in a row that bring nothing before it ends as "gave_up"; default: Infinity. */
  giveUpAfter?: number;
  /** A silent event stream is given up after this; default: 40000. */
  silenceMs?: number;
  /** How long a connection may take to show that it gets through; default: 10000. */
  openMs?: number;
  /** A silent websocket is pinged after this; default: 20000. */
  pingMs?: number;
  /** How long a long poll waits; default: 25. */
  pollSeconds?: number;
  /** Of 0 up to 1, for the jitter; default: Math.random. */
  random?: () => number;
}

export type Headers = Record<string, string>;

export interface ClientOptions {
  /** The chat's prefix, for instance "/api/chat"; in Node with a host. */
  url: string;
  /** The websocket's URL; default: none, and no websocket is used. */
  websocket?: string | null;
  /** Ways to use, the best first; default: all. */
  transports?: Transport[];
  /** For every HTTP request, for instance a CSRF token or an Authorization. */
  headers?: Headers | (() => Headers | Promise<Headers>);
  /** As `fetch` takes it; default: "same-origin". */
  credentials?: "omit" | "same-origin" | "include";
  timing?: Timing;
  /** Default: the global one. */
  fetch?: (url: string, init: RequestInit) => Promise<Response>;
  /** Default: the global one, which Node has from 22 on. */
  WebSocket?: new (url: string, protocol: string) => WebSocket;
}

export interface Chat<Message = unknown> {
  messages: Message[];
  generations: { generation: string | null; message: string | null; end: EndReason | null }[];
  /** After the last generation that is over: follow from here. */
  cursor: number;
  /** Whether the chat has older messages, and the `before` that gives them. */
  page: { truncated: false } | { truncated: true; cursor: string };
}

export declare class StreamClient {
  constructor(options: ClientOptions);
  follow<Chunk = unknown>(stream: string, options?: FollowOptions<Chunk>): Following<Chunk>;
  /** Starts an answer and follows it; `body` is what the server's format wants to be posted. */
  start<Chunk = unknown>(body: { id: string; [field: string]: unknown }, options?: StartOptions<Chunk>): Following<Chunk>;
  /** Resolves to whether anything was stopped; throws a RequestError. */
  stop(stream: string, options?: { generation?: string | null; signal?: AbortSignal }): Promise<boolean>;
  /** The chat's newest messages on the log, or those `before` the message of an id; throws a RequestError. */
  messages<Message = unknown>(
    stream: string,
    options?: { before?: string; limit?: number; signal?: AbortSignal },
  ): Promise<Chat<Message>>;
  /** Ends every wait for a reconnect. */
  reconnect(): void;
  /** Leaves everything that is followed, and closes the socket. */
  close(): void;
}

/** The server has answered, and the answer is no. `message` is for people. */
export declare class RequestError extends Error {
  private constructor();
  readonly status: number;
  /** The generation that is in the way, where the server names one. */
  readonly generation: string | null;
  /** When another try makes sense, where the server says so. */
  readonly retryAfterMs: number | null;
  /** Whether the same request may work later. */
  readonly isPassing: boolean;
}
