"""`nilometer counters list`: every backend, where it was found, and what it lacks."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from nilometer.counters import clients
from nilometer.counters.backend import BACKENDS, module_of
from nilometer.errors import to_install

if TYPE_CHECKING:
    from collections.abc import Mapping


def listed(ran) -> dict[str, Mapping[str, Any]]:
    assert ran.returncode == 0, ran.stderr
    return {one["backend"]: one for one in json.loads(ran.stdout)}


def test_every_backend_is_there_with_what_it_counts(quick) -> None:
    found = listed(quick("counters", "list", "--json"))

    told = {name: one["meaning"] for name, one in found.items() if name in BACKENDS}
    assert told == {name: module_of(name, origin="t").MEANING for name in BACKENDS}


def test_it_says_where_a_backend_is_and_how_that_is_known(quick, tmp_path) -> None:
    env = {"NILOMETER_BACKENDS": "redis://:s3cret@c1:6379", "MEMCACHED_SERVERS": "c2:11211"}
    ran = quick("counters", "list", "--json", HOME=str(tmp_path), **env)

    found = listed(ran)
    assert {"where": "redis://c1:6379", "how": "NILOMETER_BACKENDS"} in found["redis"]["found"]
    assert found["memcached"]["found"][0]["where"] == "memcached://c2:11211"
    assert "MEMCACHED_SERVERS" in found["memcached"]["found"][0]["how"]
    assert found["telegraf"]["found"] == []
    assert "s3cret" not in ran.stdout


def test_nothing_is_read_but_a_server_on_this_machine_is_seen(quick, tmp_path) -> None:
    path = tmp_path / "mysqld.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        env = {"MYSQL_UNIX_PORT": str(path), "HOME": str(tmp_path)}
        found = listed(quick("counters", "list", "--json", **env))
        server.setblocking(False)
        heard = b""
        with suppress(BlockingIOError):
            heard = server.accept()[0].recv(1)

    assert str(path) in found["mysql"]["found"][0]["where"]
    assert heard == b""


def test_a_library_that_is_missing_is_told_with_how_to_get_it(quick, monkeypatch) -> None:
    monkeypatch.setattr(clients, "find_spec", lambda _name: None)

    found = listed(quick("counters", "list", "--json"))

    assert found["mysql"]["trouble"] == f"needs PyMySQL: {to_install('counters')}"
    assert found["redis"]["trouble"] is None
    text = quick("counters", "list").stdout
    assert f"needs PyMySQL: {to_install('counters')}" in text


@pytest.mark.parametrize("name", clients.CLIENTS)
def test_the_libraries_that_backends_need_are_here(name) -> None:
    assert name in BACKENDS
    assert clients.is_here(clients.CLIENTS[name])


def test_a_wrong_setting_is_told_and_hides_nothing(quick) -> None:
    ran = quick("counters", "list", "--json", NILOMETER_BACKENDS="mysqll://me:s3cret@x")

    assert set(BACKENDS) <= set(listed(ran))
    assert (
        "NILOMETER_BACKENDS: no backend for 'mysqll://***@x'; did you mean 'mysql'"
        in ran.stderr
    )
