// The JavaScript client under Node, which neither keeps cookies nor has a websocket before version 22.
import WebSocket from "ws";

import * as follower from "./follower.mjs";
import { serve } from "./rpc.mjs";

await serve({
  ...follower,
  visit({ cookies, headers, ...site }) {
    const cookie = Object.entries(cookies).map(([name, value]) => `${name}=${value}`).join("; ");
    class VisitorsSocket extends WebSocket {
      constructor(url, protocol) {
        super(url, protocol, { headers: { Cookie: cookie, Origin: new URL(site.url).origin } });
      }
    }
    follower.visit({ ...site, headers: { ...headers, Cookie: cookie }, WebSocket: VisitorsSocket });
  },
});
