// Runs the manual's scripts, which are modules with a default function, as a page of a site would: relative URLs are the
// site's, its cookies go along, and there is an EventSource.
import { writeFile } from "node:fs/promises";

import { EventSource } from "eventsource";

import "./patience.mjs";
import { serve } from "./rpc.mjs";

const fetchAnywhere = globalThis.fetch;
let base;
let headers;

globalThis.fetch = (url, init = {}) =>
  fetchAnywhere(new URL(url, base), { ...init, headers: { ...Object.fromEntries(new Headers(init.headers)), ...headers } });
globalThis.EventSource = class extends EventSource {
  constructor(url) {
    super(new URL(url, base), { fetch: globalThis.fetch });
  }
};

let written = 0;

await serve({
  visit(site) {
    ({ base, headers } = site);
    globalThis.document = { cookie: headers.Cookie };
  },
  async run({ script, given }) {
    written += 1;
    const file = new URL(`script-${process.pid}-${written}.mjs`, import.meta.url);
    await writeFile(file, script);
    return (await import(file)).default(...given);
  },
});
