"""The peer on S2's side: an aiohttp client that does the same requests and nothing else.

It checks nothing, repeats nothing, and looks at answers only as far as the next request depends on them.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any
from urllib.parse import quote

import aiohttp


class BareS2:
    """Speaks to one basin."""

    def __init__(self, session: aiohttp.ClientSession, options: dict[str, Any]) -> None:
        self.requests = 0
        self._session = session
        self._streams = f"{options['basin_endpoint']}/v1/streams"
        self._headers = {"S2-Basin": options["basin"], "Accept-Encoding": "identity"}

    async def append(self, stream: str, bodies: Sequence[str], at: int) -> int:
        """Append records where the stream must end, under the token that new streams have; return where it ends now."""
        self.requests += 1
        records = [{"body": body} for body in bodies]
        content = json.dumps({"records": records, "fencing_token": "", "match_seq_num": at}).encode()
        headers = {**self._headers, "Content-Type": "application/json"}
        async with self._session.post(self._records(stream), data=content, headers=headers) as response:
            response.raise_for_status()
            end: int = json.loads(await response.read())["end"]["seq_num"]
            return end

    async def follow(self, stream: str) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a follow from the stream's beginning, as they come."""
        self.requests += 1
        headers = {**self._headers, "Accept": "text/event-stream"}
        address = f"{self._records(stream)}?seq_num=0"
        async with self._session.get(address, headers=headers, timeout=aiohttp.ClientTimeout()) as response:
            response.raise_for_status()
            async for data in response.content.iter_any():
                yield data

    def _records(self, stream: str) -> str:
        return f"{self._streams}/{quote(stream, safe='')}/records"


def connect(connections: int) -> aiohttp.ClientSession:
    """Open a session that may have so many connections."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections))
