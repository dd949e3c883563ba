"""A short attack on a real server; ``python -m tests.fuzz --seconds 600`` is the long one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .attack import attack
from .servers import with_uvicorn

SECONDS = 4


@pytest.mark.urls("tests.fuzz.attack")
@pytest.mark.parametrize("seed", [1, 2])
async def test_server_survives_whatever_clients_programs_and_producers_send(
    seed: int, tmp_path: Path, settings: Any
) -> None:
    sqlite = {
        "BACKEND": "resumable_stream.backends.sqlite.SQLiteBackend",
        "OPTIONS": {"path": tmp_path / "log.sqlite3"},
    }
    settings.MIDDLEWARE = []
    settings.RESUMABLE_STREAM = {"BACKENDS": {"default": sqlite}, "HANDLE_SIGNALS": False}

    report = await with_uvicorn(lambda port: attack(port, SECONDS, seed))

    assert report.faults == []
    assert report.statuses[200] > 0
    assert report.closes
