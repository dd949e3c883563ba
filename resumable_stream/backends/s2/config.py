"""The options of the S2 backend: read, completed from S2's environment variables, judged.

An endpoint may be given as S2's own tools take it, with or without scheme and ``/v1``, and with ``{basin}`` where the
basin's name belongs. Without a scheme a loopback address means ``http``, anything else ``https``.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ...exceptions import InvalidBackendError

if TYPE_CHECKING:
    from .client import ClientOption, TransportOption

CLOUD_DOMAIN = "s2.dev"
CLOUD_ACCOUNT_ENDPOINT = "https://a.s2.dev/v1"
CLOUD_BASIN_ENDPOINT = "https://{basin}.b.s2.dev/v1"

ENVIRONMENT = {
    "basin": "S2_BASIN",
    "access_token": "S2_ACCESS_TOKEN",
    "account_endpoint": "S2_ACCOUNT_ENDPOINT",
    "basin_endpoint": "S2_BASIN_ENDPOINT",
}
"""Option -> the environment variable that fills it; the names are those of S2's own tools."""


@dataclass(frozen=True, kw_only=True)
class S2Config:
    """The options, completed. Each field is an option of the same name unless it says otherwise."""

    alias: str
    """Not an option: the backend's name in the ``BACKENDS`` setting."""
    basin: str
    """The basin that holds all streams: 8 to 48 lower-case letters, digits and hyphens."""
    access_token: str = field(repr=False)
    """May be empty where the endpoints are not S2's cloud: s2-lite asks for none."""
    account_endpoint: str
    """URL up to and with ``/v1``, for making and configuring the basin."""
    basin_endpoint: str
    """URL up to and with ``/v1``, for everything else."""

    timeout: float = 5.0
    """Seconds in which an append or a read must be answered. A writer resolves an append without an answer by sending
    it again, so this is well below its lease."""
    connect_timeout: float = 3.0
    """Seconds in which a connection must be open."""
    stall_timeout: float = 25.0
    """Seconds of silence after which a follow reconnects. S2 sends a ping at least every 15."""
    retry_seconds: float = 2.0
    """How long a request that S2 surely did not apply is tried again."""
    follow_retry_seconds: float = 30.0
    """How long a follow tries to reconnect before it gives up."""
    max_connections: int = 20_000
    """Most connections of one event loop. Each follow keeps one open."""
    max_concurrent_appends: int = 64
    """Most appends of one event loop that are under way at once, over all streams. Beyond a hundred each costs a
    third more processor time. A log that takes long to acknowledge may need more: this number, divided by the seconds
    one takes, is the most appends per second."""

    retention_seconds: int | None = None
    """How long records are kept in streams that are made after the next ``manage.py resumable_stream setup``, which
    gives it to the basin. ``None`` leaves it to the basin."""

    ssl_context: ssl.SSLContext | None = None
    """Trust other certificates than the system's and certifi's."""
    transport: TransportOption | None = None
    """An ``httpx.AsyncBaseTransport``, or a function that makes one per event loop: a proxy or a mock."""
    client: ClientOption | None = None
    """An ``httpx.AsyncClient``, or a function that makes one per event loop. Stock clients have a connection pool that
    gets slow beyond a few dozen streams."""

    @classmethod
    def from_options(cls, alias: str, options: Mapping[str, Any]) -> S2Config:
        """Complete and judge ``options``.

        Raises:
            InvalidBackendError: An option is unknown, missing or wrong; the message names it and the fix.
        """
        _reject_unknown(alias, options)
        values = {**_from_environment(), **{name: value for name, value in options.items() if value is not None}}
        basin = _basin(alias, values.get("basin"))
        values["account_endpoint"], values["basin_endpoint"] = _endpoints(alias, basin, values)
        values["access_token"] = _access_token(alias, values)
        for name in (*NUMBERS, "retention_seconds"):
            _require_positive(alias, name, values.get(name, 1))
        if "client" in values and "transport" in values:
            raise _invalid(alias, "OPTIONS has both 'client' and 'transport'. Keep one: a client brings its transport.")
        return cls(alias=alias, **values)

    @property
    def is_cloud(self) -> bool:
        """Whether the streams are in S2's own cloud."""
        return _is_cloud(self.basin_endpoint)

    @property
    def sends_token_in_the_clear(self) -> bool:
        """Whether the access token travels without encryption to another host."""
        url = urlsplit(self.basin_endpoint)
        return bool(self.access_token) and url.scheme == "http" and not is_loopback(url.hostname or "")


NUMBERS = tuple(name for name, kind in S2Config.__annotations__.items() if kind in ("int", "float"))
_OPTIONS = tuple(option.name for option in fields(S2Config) if option.name != "alias")


def setting_hint(option: str) -> str:
    """Say where ``option`` is set, for messages."""
    return f"OPTIONS[{option!r}] or the environment variable {ENVIRONMENT[option]}"


def _invalid(alias: str, problem: str) -> InvalidBackendError:
    return InvalidBackendError(f"Backend {alias!r}: {problem}")


def _reject_unknown(alias: str, options: Mapping[str, Any]) -> None:
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        raise _invalid(alias, f"OPTIONS has unknown {', '.join(unknown)}. Known are {', '.join(_OPTIONS)}.")


def _from_environment() -> dict[str, Any]:
    found = {option: os.environ.get(variable, "").strip() for option, variable in ENVIRONMENT.items()}
    return {option: value for option, value in found.items() if value}


def _basin(alias: str, basin: Any) -> str:
    if not basin:
        raise _invalid(alias, f"no basin is named. Set {setting_hint('basin')}.")
    if not isinstance(basin, str) or not re.fullmatch(r"[a-z0-9][a-z0-9-]{6,46}[a-z0-9]", basin):
        raise _invalid(
            alias,
            f"{basin!r} cannot be a basin's name: 8 to 48 lower-case letters, digits and inner hyphens. "
            f"Correct {setting_hint('basin')}.",
        )
    return basin


def _access_token(alias: str, values: Mapping[str, Any]) -> str:
    token = values.get("access_token", "")
    if not token and _is_cloud(values["basin_endpoint"]):
        raise _invalid(alias, f"S2 needs an access token. Set {setting_hint('access_token')}.")
    # The value is a secret: no message may show it.
    if not isinstance(token, str) or not token.isascii() or not token.isprintable() or token != token.strip():
        raise _invalid(
            alias,
            f"the access token must be printable ASCII text without spaces around it. "
            f"Correct {setting_hint('access_token')}.",
        )
    return token


def _endpoints(alias: str, basin: str, values: Mapping[str, Any]) -> tuple[str, str]:
    account, of_basin = values.get("account_endpoint"), values.get("basin_endpoint")
    if bool(account) != bool(of_basin):
        # Filling in the cloud's would send one half of a self-hosted setup there.
        missing = "basin_endpoint" if account else "account_endpoint"
        raise _invalid(
            alias,
            f"only one of the two endpoints is set. Set {setting_hint(missing)} too; for s2-lite both are the same.",
        )
    return (
        _endpoint(alias, "account_endpoint", account or CLOUD_ACCOUNT_ENDPOINT, basin),
        _endpoint(alias, "basin_endpoint", of_basin or CLOUD_BASIN_ENDPOINT, basin),
    )


def _endpoint(alias: str, option: str, given: Any, basin: str) -> str:
    text = str(given).strip().replace("{basin}", basin)
    try:
        url = urlsplit(text if "://" in text else f"//{text}")
        port = url.port
    except ValueError:
        url, port = urlsplit(""), None
    path = url.path.rstrip("/")
    if (
        not url.hostname
        or url.scheme not in ("", "http", "https")
        or url.username is not None  # Credentials would show up in every message about the endpoint.
        or url.query
        or url.fragment
    ):
        raise _invalid(
            alias,
            f"the value of {setting_hint(option)} is no endpoint. It looks like 'https://{{basin}}.b.s2.dev' or "
            "'http://127.0.0.1:8080', without user name or query.",
        )
    scheme = url.scheme or ("http" if is_loopback(url.hostname) else "https")
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    return f"{scheme}://{host}{f':{port}' if port else ''}{path if path.endswith('/v1') else path + '/v1'}"


def _require_positive(alias: str, name: str, value: Any) -> None:
    whole = S2Config.__annotations__[name].startswith("int")
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or value <= 0:
        raise _invalid(alias, f"OPTIONS[{name!r}] must be a {'whole ' if whole else ''}number above 0, not {value!r}.")


def _is_cloud(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    return host == CLOUD_DOMAIN or host.endswith(f".{CLOUD_DOMAIN}")


def is_loopback(host: str) -> bool:
    """Tell whether ``host`` is this machine's loopback."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
