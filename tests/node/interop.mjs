// A Node service that writes and reads chat streams as the npm package `@s2-dev/resumable-stream` lays them out, with
// nothing but S2's own SDK: claims by fence, chunks under a running match_seq_num, a terminal fence.
// Arguments: the origin of the S2 server, the basin.
import { AppendInput, AppendRecord, FencingTokenMismatchError, RangeNotSatisfiableError, S2, S2Environment,
  SeqNumMismatchError } from "@s2-dev/streamstore";
import { serve } from "./rpc.mjs";

const { string, fence, trim } = AppendRecord;
const [origin, basin] = process.argv.slice(2);
process.env.S2_ACCOUNT_ENDPOINT = process.env.S2_BASIN_ENDPOINT = origin;
const streams = new S2({ accessToken: "ignored", ...S2Environment.parse() }).basin(basin);

const random = () => Math.random().toString(36).slice(2, 10).padEnd(8, "0");
const isCommand = (record, name) => record.headers?.length === 1 && record.headers[0][0] === "" && record.headers[0][1] === name;
const isTerminal = (record) => isCommand(record, "fence") && /^(end|error)-/.test(record.body);
const owned = new Map();

async function readAll(name) {
  const records = [];
  for (;;) {
    try {
      const start = { from: { seqNum: records.length ? records.at(-1).seqNum + 1 : 0 } };
      const batch = await streams.stream(name).read({ start, stop: { limits: { count: 1000 } } });
      if (batch.records.length === 0) return records;
      records.push(...batch.records);
    } catch (error) {
      if (error instanceof RangeNotSatisfiableError || error.status === 404) return records;
      throw error;
    }
  }
}

// Appends; `{refused}` names the token or the position that stood in the way.
async function append(name, records, conditions) {
  try {
    const ack = await streams.stream(name).append(AppendInput.create(records, conditions));
    return { end: ack.end.seqNum };
  } catch (error) {
    if (error instanceof FencingTokenMismatchError) return { refused: error.expectedFencingToken };
    if (error instanceof SeqNumMismatchError) return { refused: error.expectedSeqNum };
    throw error;
  }
}

// What the claim must name, by the rule of each mode; undefined if the stream is taken.
const claims = {
  "single-use": async () => ({ fencingToken: "", matchSeqNum: 0 }),
  session: async (records) => {
    const last = records.at(-1);
    if (last === undefined) return { fencingToken: "", matchSeqNum: 0 };
    return isTerminal(last) ? { fencingToken: last.body } : undefined;
  },
  shared: async (records, lease) => {
    const held = records.findLast((record) => isCommand(record, "fence"));
    if (held === undefined) return { fencingToken: "" };
    const silent = Date.now() - Number(records.at(-1).timestamp);
    return isTerminal(held) || silent > lease ? { fencingToken: held.body } : undefined;
  },
};

serve({
  async claim({ name, mode, lease = 5000 }) {
    const records = mode === "single-use" ? [] : await readAll(name);
    const conditions = await claims[mode](records, lease);
    if (conditions === undefined) return { refused: records.findLast((record) => isCommand(record, "fence")).body };
    const token = `session-${random()}`;
    const claimed = await append(name, [fence(token)], conditions);
    if (claimed.refused !== undefined) return claimed;
    if (mode === "shared" && claimed.end > 1) {
      claimed.end = (await append(name, [trim(claimed.end - 1)], { fencingToken: token, matchSeqNum: claimed.end })).end;
    }
    owned.set(name, { token, next: claimed.end });
    return { token };
  },

  async write({ name, chunks }) {
    const owner = owned.get(name);
    const records = chunks.map((body) => string({ body }));
    const written = await append(name, records, { fencingToken: owner.token, matchSeqNum: owner.next });
    if (written.refused === undefined) owner.next = written.end;
    return written;
  },

  // One append for each step, as the package does it.
  async finish({ name, mode, error }) {
    const owner = owned.get(name);
    const steps = [fence(`${error ? "error" : "end"}-${random()}`)];
    if (mode === "single-use") steps.unshift(trim(owner.next));
    if (error) steps.unshift(string({ body: error }));
    for (const step of steps) {
      const done = await append(name, [step], { fencingToken: owner.token, matchSeqNum: owner.next });
      if (done.refused !== undefined) return done;
      owner.next = done.end;
    }
    return {};
  },

  // The generic context's stop: a fence without conditions, whoever owns the stream.
  stop: ({ name }) => append(name, [fence(`end-${random()}`)], {}),

  // Follows from the start of the stream to its first terminal fence, as the package's replay does.
  async replay({ name }) {
    const chunks = [];
    for await (const record of await streams.stream(name).readSession({ start: { from: { seqNum: 0 } } })) {
      if (isTerminal(record)) return { chunks, terminal: record.body };
      if (isCommand(record, "fence") || isCommand(record, "trim") || record.body === "") continue;
      chunks.push(record.body);
    }
    return { chunks };
  },
});
