"""Pages in a real browser, which lives in a Node process."""

from __future__ import annotations

from typing import Any, Self

from .node_host import NodeHost
from .visitor import new_id


class Page:
    """One tab of the browser; tabs of one ``session`` share their cookies."""

    def __init__(self, host: NodeHost, session: str) -> None:
        self._host = host
        self._session = session
        self._name = new_id()

    async def call(self, operation: str, **arguments: Any) -> Any:
        return await self._host.call(operation, page=self._name, **arguments)

    async def open(self, url: str, **options: Any) -> Self:
        await self.call("open", session=self._session, url=url, **options)
        return self

    async def click(self, selector: str) -> None:
        await self.call("click", selector=selector)

    async def sees(self, selector: str) -> None:
        await self.call("wait", selector=selector, state="visible")

    async def second_tab(self, **options: Any) -> Self:
        return await type(self)(self._host, self._session).open(await self.call("url"), **options)

    async def ask(self, module: str, name: str, /, **given: Any) -> Any:
        """Call a function of the module at a path."""
        return await self.call("ask", module=module, name=name, given=given)

    async def assert_no_problems(self) -> None:
        assert await self.call("problems") == []
