/** Why a request or a connection failed, as far as it decides what to do next. */

/** The server has answered, and the answer is no. `message` is for people. */
export class RequestError extends Error {
  /** @param {{status: number, message: string, generation?: string | null, retryAfterMs?: number | null}} facts */
  constructor({ status, message, generation = null, retryAfterMs = null }) {
    super(message);
    this.name = "RequestError";
    this.status = status;
    /** The generation that is in the way, where the server names one. */
    this.generation = generation;
    /** When another try makes sense, where the server says so. */
    this.retryAfterMs = retryAfterMs;
  }

  /** Whether the same request may work later. */
  get isPassing() {
    return this.status >= 500 || [408, 425, 429].includes(this.status);
  }

  /** Makes an error of a response that is not ok. */
  static async from(response, now = Date.now()) {
    return new RequestError({
      status: response.status,
      message: await textFor(response),
      generation: response.headers.get("X-Generation-Id"),
      retryAfterMs: retryAfter(response.headers.get("Retry-After"), now),
    });
  }
}

/** A way to the server that does not get through at all, although another one may. */
export class NoWayError extends Error {
  constructor(message, options) {
    super(message, options);
    this.name = "NoWayError";
  }
}

/** The way is in use for the same stream already; nothing is wrong with it. */
export class OccupiedError extends NoWayError {}

/** The chat's errors are plain text for people; anything else is a page that only a developer wants to see. */
async function textFor(response) {
  const isText = (response.headers.get("Content-Type") ?? "").startsWith("text/plain");
  const text = isText ? (await response.text()).trim() : "";
  if (!isText) response.body?.cancel().catch(() => {});
  return text || `The server answered ${response.status}.`;
}

/** Reads `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date. */
function retryAfter(value, now) {
  if (value === null) return null;
  if (/^\s*[0-9]+\s*$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? null : Math.max(0, date - now);
}
