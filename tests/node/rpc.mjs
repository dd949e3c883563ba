// Serves operations over stdin and stdout: one JSON object a line, `{call, operation, arguments}` in,
// `{call, result}` or `{call, error}` out. Calls run at the same time and are answered when they are done.
import { createInterface } from "node:readline";

export async function serve(operations) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { call, operation, arguments: given } = JSON.parse(line);
    answer(call, () => operations[operation](given));
  }
  process.exit(0);
}

async function answer(call, run) {
  let reply;
  try {
    reply = { call, result: (await run()) ?? null };
  } catch (error) {
    reply = { call, error: error.stack };
  }
  process.stdout.write(JSON.stringify(reply) + "\n");
}
