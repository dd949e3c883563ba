/** Why following ended: values, for `switch` and for people who read logs. */
export const END = Object.freeze({
  /** The answer came to its end. */
  FINISHED: "finished",
  /** Somebody stopped the answer. */
  STOPPED: "stopped",
  /** The answer's producer failed; `error` has words for people. */
  FAILED: "failed",
  /** The server that wrote the answer is gone; `error` has words for people. */
  INTERRUPTED: "interrupted",
  /** Nothing runs, and you have all there is. */
  NOTHING: "nothing",
  /** There is no such stream, or no right to it. */
  FORBIDDEN: "forbidden",
  /** The server refuses the request for another reason; `status` and `error` say which. */
  REFUSED: "refused",
  /** It was tried as often as `giveUpAfter` allows. */
  GAVE_UP: "gave_up",
  /** You left: by `close()`, by leaving the loop, or by the AbortSignal. */
  CLOSED: "closed",
});

/** Reasons that stand on the log: an answer is over, though a live stream goes on. */
export const ANSWER_ENDS = new Set([END.FINISHED, END.STOPPED, END.FAILED, END.INTERRUPTED]);

/** What a refusal that will stay one means for whoever follows. */
export function endOfRefusal({ status, message, generation }) {
  const reason = [401, 403, 404].includes(status) ? END.FORBIDDEN : END.REFUSED;
  return { reason, status, error: message, generation };
}
