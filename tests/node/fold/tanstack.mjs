// What TanStack AI's processor makes of chunks. The first argument is the library's version.
import { serve } from "../rpc.mjs";

const name = { "0.58": "@tanstack/ai", "0.14": "tanstack-ai-0-14" }[process.argv[2]];
const { StreamProcessor, parsePartialJSON } = await import(name);
// What newer clients do to each chunk before the processor gets it.
const { restoreInboundChunk = (chunk) => chunk } = name === "@tanstack/ai" ? await import("@tanstack/ai/client") : {};

console.warn = console.error = () => {};

// Feeds chunks, and tells whether two messages had one id at any time.
function feed(processor, chunks) {
  let collided = false;
  for (const chunk of chunks) {
    processor.processChunk(restoreInboundChunk(JSON.parse(chunk)));
    const ids = processor.getMessages().map(({ id }) => id);
    collided ||= new Set(ids).size < ids.length;
  }
  return collided;
}

// As in the tab that sends: the user's message is there first, an edited one takes the place of what followed.
function say(processor, message) {
  const messages = processor.getMessages();
  const index = messages.findIndex(({ id }) => id === message.id);
  if (index !== -1) processor.removeMessagesAfter(index - 1);
  processor.setMessages([...processor.getMessages(), message]);
}

await serve({
  // Plays generations to the tab that sends, and tells its messages.
  async sender({ generations, messages }) {
    const processor = new StreamProcessor({ initialMessages: messages });
    let collided = false;
    for (const { users, chunks } of generations) {
      for (const user of users) say(processor, user);
      processor.prepareAssistantMessage();
      collided = feed(processor, chunks) || collided;
    }
    return { messages: processor.getMessages(), collided };
  },

  // Plays chunks to a tab that only listens.
  async listener({ chunks, messages }) {
    const processor = new StreamProcessor({ initialMessages: messages });
    feed(processor, chunks);
    return { messages: processor.getMessages(), state: processor.getState() };
  },

  // Parses texts that break off.
  async partial({ texts }) {
    return texts.map((text) => {
      const value = parsePartialJSON(text);
      return value === undefined ? {} : { value };
    });
  },
});
