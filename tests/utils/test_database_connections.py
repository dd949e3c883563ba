"""Answers on a real PostgreSQL: connections are given back while a model thinks, and fresh when an answer is saved."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..conftest import require_program
from ..support.postgres import cluster, find_postgres

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def postgres() -> Iterator[dict[str, Any]]:
    how_to_get = "apt-get install postgresql, or name the directory of its programs in POSTGRES_BIN."
    with cluster(require_program("PostgreSQL", find_postgres(), how_to_get)) as database:
        yield database


def play(database: dict[str, Any], name: str, scenarios: list[tuple[str, str]], **options: Any) -> Any:
    """Play scenarios of the project in a process of its own, in a database of its own; return what it tells."""
    import psycopg  # noqa: PLC0415 - needs the server's library, as the project does

    keys = {"host": database["HOST"], "port": database["PORT"], "user": database["USER"], "dbname": "postgres"}
    with psycopg.connect(**keys, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    command = [sys.executable, "-m", "tests.support.postgres_project", json.dumps(scenarios)]
    arguments = [*command, json.dumps({**database, "NAME": name, **options})]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def pooled(postgres: dict[str, Any]) -> Any:
    """What is told by a project with a pool of four connections."""
    scenarios = [("silent_answers", "AsyncChat"), ("silent_answers", "SyncChat")]
    return play(postgres, "pooled", scenarios, OPTIONS={"pool": {"min_size": 1, "max_size": 4, "timeout": 20}})


@pytest.fixture(scope="module")
def lasting(postgres: dict[str, Any]) -> Any:
    """What is told by a project whose connections are kept for good, and are checked by Django."""
    scenarios = [
        ("silent_answers", "AsyncChat"),
        ("silent_answers", "SyncChat"),
        ("quick_answers", "AsyncChat"),
        *(("closed_by_the_server", view) for view in ("AsyncChat", "SyncChat", "FailingChat")),
        *(("kept_open", view) for view in ("AtomicChat", "RowsChat", "SyncRowsChat")),
        ("hung_provider", "HungChat"),
    ]
    return play(postgres, "lasting", scenarios, CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=True)


@pytest.mark.parametrize("project", ["pooled", "lasting"])
@pytest.mark.parametrize("view", ["AsyncChat", "SyncChat"])
def test_silent_answers_hold_no_connection_and_all_are_saved(
    request: pytest.FixtureRequest, view: str, project: str
) -> None:
    told = request.getfixturevalue(project)[f"silent_answers {view}"]

    assert told["meanwhile"] == []
    assert told["texts"] == [["0", "done"]] * 12
    assert told["saved"] == sorted(f"c{index} finished" for index in range(12))
    assert told["threads"] == 0


def test_an_answer_that_ends_at_once_leaves_no_connection_open(lasting: Any) -> None:
    # The project itself waits for the server to have no connections left.
    assert [texts[-1] for texts in lasting["quick_answers AsyncChat"]["texts"]] == ["done"] * 12


@pytest.mark.parametrize("view", ["AsyncChat", "SyncChat"])
def test_an_answer_is_saved_though_the_server_has_closed_the_connection(lasting: Any, view: str) -> None:
    assert lasting[f"closed_by_the_server {view}"]["saved"] == ["c finished"]


def test_a_failure_is_worded_though_the_server_has_closed_the_connection(lasting: Any) -> None:
    told = lasting["closed_by_the_server FailingChat"]

    assert told["saved"] == ["c failed"]
    assert "0 groups" in json.dumps(told["events"])


@pytest.mark.parametrize(
    ("view", "texts"),
    [("AtomicChat", ["one", "1"]), ("RowsChat", ["a", "b", "c"]), ("SyncRowsChat", ["a", "b", "c"])],
)
def test_transactions_and_rows_that_are_read_one_by_one_stay_open(lasting: Any, view: str, texts: list[str]) -> None:
    told = lasting[f"kept_open {view}"]

    assert told["texts"] == texts
    assert "c finished" in told["saved"]
    assert ("first" in told["saved"]) is (view == "AtomicChat")


def test_a_stopped_answer_is_saved_while_its_provider_hangs(lasting: Any) -> None:
    assert lasting["hung_provider HungChat"] == {"status": 202, "saved": ["c stopped"], "threads": 0}
