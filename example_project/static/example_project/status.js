/** What there is to say about the connection, in one place and in words. */

const SILENCE_MS = 4_000;

/** What screen readers say when the state changes; the other states pass too quickly to be worth a word. */
export const SPOKEN_STATES = { waiting: "Connection lost", cut: "Connection cut", live: "Connected" };

const TRANSPORTS = { websocket: "WebSocket", sse: "event stream", poll: "long poll" };

/** By which way the page is live; empty while it is not. */
export function wayText(line) {
  return TRANSPORTS[line.transport] ?? "";
}

/** The words of the indicator in the page's head. */
export function lineText(line, now = Date.now()) {
  const seconds = Math.max(1, Math.ceil((line.until - now) / 1000));
  switch (line.state) {
    case "connecting":
      return "Connecting";
    case "live":
      return "Live";
    case "waiting":
      return `Offline, next try in ${seconds} s`;
    case "cut":
      return `Cut, back in ${seconds} s`;
    case "resting":
      return "Resting";
    default:
      return "Ready";
  }
}

/** What to say below an answer that is being written; `idleMs`: since its last word. */
export function answerNote(line, chat, idleMs) {
  if (chat.isStopping) return "Stopping…";
  if (chat.answer === null && ["cut", "waiting"].includes(line.state)) return "No connection to the server.";
  if (chat.answer === null) return "";
  if (line.state === "cut") return `The answer is still being written. This page goes on at record ${chat.cursor}.`;
  if (line.state === "waiting") return `Connection lost. This page goes on at record ${chat.cursor} when the server is back.`;
  if (idleMs < SILENCE_MS) return "";
  return `No new words for ${Math.round(idleMs / 1000)} s. If the server writing this answer is gone, the log will say so.`;
}
