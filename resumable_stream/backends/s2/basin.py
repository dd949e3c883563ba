"""The basin as a whole, made and configured over S2's account endpoint."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from .api import S2Http
from .config import S2Config
from .errors import ErrorAnswer


async def basin_config(config: S2Config) -> dict[str, Any]:
    """Return the basin's configuration in S2's words.

    Raises:
        InvalidBackendError: There is no such basin, or the token may not see it.
    """
    async with _account(config) as account:
        return _configuration(account, await account.call("GET", _path(config)))


async def ensure_basin(config: S2Config, retention_seconds: int | None) -> str:
    """Make the basin or configure it; return ``"created"``, ``"updated"`` or ``"kept"``.

    What this backend does not need stays as it is: somebody may have chosen it.
    """
    wanted = _wanted(retention_seconds)
    async with _account(config) as account:
        answer = await account.call("GET", _path(config), accept=(200, 404))
        if answer.status == 404:
            if answer.json_object().get("code") != "basin_not_found":
                raise account.judge.answer(answer).error
            await account.call("PUT", _path(config), json={"config": wanted}, accept=(200, 201))
            return "created"
        if _holds(_configuration(account, answer), wanted):
            return "kept"
        await account.call("PATCH", _path(config), json=wanted)
        return "updated"


@asynccontextmanager
async def _account(config: S2Config) -> AsyncGenerator[S2Http, None]:
    account = S2Http(config, "account_endpoint")
    try:
        yield account
    finally:
        await account.close()


def _path(config: S2Config) -> str:
    return f"/basins/{config.basin}"


def _configuration(account: S2Http, answer: ErrorAnswer) -> dict[str, Any]:
    found = answer.json_object()
    if "create_stream_on_append" not in found:
        raise account.judge.malformed("no configuration of a basin").error
    return found


def _wanted(retention_seconds: int | None) -> dict[str, Any]:
    # A stream begins with its first append. A read that made one would hide that there is nothing to resume.
    wanted: dict[str, Any] = {"create_stream_on_append": True, "create_stream_on_read": False}
    if retention_seconds is not None:
        wanted["default_stream_config"] = {"retention_policy": {"age": retention_seconds}}
    return wanted


def _holds(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Tell whether ``found`` has everything that ``wanted`` has, at every depth."""
    return all(
        _holds(found.get(name) or {}, value) if isinstance(value, dict) else found.get(name) == value
        for name, value in wanted.items()
    )
