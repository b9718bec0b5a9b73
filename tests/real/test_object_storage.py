"""Tables on object storage: what collectors, readers and upkeep do on a real S3 server."""

from __future__ import annotations

import time

import pytest

from nilometer.store.lake import Lake
from nilometer.store.query import Reader
from tests import objects
from tests.store.batches import S, one_of_each

pytestmark = pytest.mark.real

ENVIRONMENT = ("AWS_ALLOW_HTTP", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with objects.start(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def s3(server, monkeypatch):
    """The server, and variables that lead to it."""
    set_variables(server, monkeypatch)
    yield server
    server.come_back()


def set_variables(server, monkeypatch):
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)


def store_of(server, tmp_path):
    """A place there that no other test has."""
    return f"s3://{server.bucket}/{tmp_path.name}/nilometer"


def spans_of(reader, traces=100):
    return sum(each.spans for each in reader.find_traces(limit=traces))


def test_what_is_appended_merged_and_dropped_there_is_read_as_from_a_directory(s3, tmp_path):
    store, now_ns = store_of(s3, tmp_path), time.time_ns()
    lakes = Lake(store), Lake(tmp_path / "here")
    for lake in lakes:
        for number in range(9):
            lake.append([one_of_each(number, at_ns=now_ns - number * S)])
        assert lake.maintain().written == 3

    there, here = (Reader(place) for place in (store, tmp_path / "here"))
    since = {"since_ns": now_ns - 3600 * S, "until_ns": now_ns + S}
    assert there.statistics("c", **since) == here.statistics("c", **since)
    assert spans_of(there) == spans_of(here) == 9
