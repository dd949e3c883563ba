"""Places: how many are taken, for whom they count, and when they are given back."""

from __future__ import annotations

import gc

import pytest

from resumable_stream.exceptions import LimitExceededError, ServerBusyError
from resumable_stream.limits import Places, address_key, releasing


def test_place_is_given_back_once_and_at_the_latest_when_it_is_forgotten() -> None:
    places = Places("Too many.")
    first = places.take("ada", limit=None, limit_per_key=None)
    second = places.take("ada", limit=None, limit_per_key=None)
    assert places.taken == {"ada": 2}
    first.release()
    first.release()
    assert places.taken == {"ada": 1}
    del second
    gc.collect()

    assert places.taken == {}
    assert not places


def test_limit_of_a_key_concerns_that_key_alone() -> None:
    places = Places("Too many.")
    kept = [places.take(key, limit=None, limit_per_key=1) for key in ("ada", "bob", "", "")]
    with pytest.raises(LimitExceededError, match=r"Too many\."):
        places.take("ada", limit=None, limit_per_key=1)
    kept[0].release()

    assert places.take("ada", limit=None, limit_per_key=1)


def test_limit_of_the_process_concerns_everybody() -> None:
    places = Places("Too many.")
    kept = [places.take(key, limit=2, limit_per_key=None) for key in ("ada", "")]
    for key in ("ada", "bob", ""):
        with pytest.raises(ServerBusyError):
            places.take(key, limit=2, limit_per_key=None)
    kept[0].release()

    assert places.take("bob", limit=2, limit_per_key=None)


def test_place_is_given_back_where_its_use_fails() -> None:
    places = Places("Too many.")
    place = places.take("ada", limit=None, limit_per_key=None)
    with pytest.raises(ValueError, match="no use"), releasing(place):
        raise ValueError("no use")

    assert not places


def test_whoever_waits_hears_when_the_last_place_is_given_back() -> None:
    heard: list[bool] = []
    places = Places("Too many.", lambda: heard.append(True))
    kept = [places.take("ada", limit=None, limit_per_key=None) for _ in range(2)]
    kept[0].release()
    assert heard == []
    kept[1].release()
    assert heard == [True]


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("8.8.8.8", "address-8.8.8.8"),
        ("2001:4860:4860::8888", "address-2001:4860:4860::"),
        ("2001:4860:4860:0:1::1", "address-2001:4860:4860::"),
        ("::ffff:8.8.8.8", "address-8.8.8.8"),
        ("127.0.0.1", ""),
        ("::1", ""),
        ("10.0.0.7", ""),
        ("fe80::1%eth0", ""),
        ("", ""),
        ("unix:", ""),
    ],
)
def test_address_counts_only_where_it_is_one_clients(address: str, key: str) -> None:
    assert address_key(address) == key
