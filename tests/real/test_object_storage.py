"""Tables on object storage: what collectors, readers and upkeep do on a real S3 server."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from nilometer.errors import StoreError
from nilometer.store.lake import Lake
from nilometer.store.objects import objects_at
from nilometer.store.places import Place
from nilometer.store.query import Reader
from tests import objects
from tests.collector import start
from tests.senders import SOLD, Counting, Sender, acknowledged, batch_of, counted_in, spans_in
from tests.store.batches import S, one_of_each

pytestmark = pytest.mark.real

ELSE = ("AWS_ALLOW_HTTP", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT")
ROOT = Path(__file__).parents[2]
ANSWER_S = 60  # a whole outage; libraries would go on for three minutes


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with objects.start(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def s3(server, monkeypatch):
    """The server, and variables that lead to it."""
    lead_to(server, monkeypatch)
    yield server
    server.come_back()


def lead_to(server, monkeypatch):
    for name in ELSE:
        monkeypatch.delenv(name, raising=False)
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://{server.bucket}/nilometer"


@pytest.fixture
def store(server, tmp_path):
    """A place there that no other test has."""
    return f"s3://{server.bucket}/{tmp_path.name}/nilometer"


def command(*words):
    return subprocess.run(
        [sys.executable, "-m", "nilometer", *words],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )


def test_what_is_appended_merged_and_dropped_there_is_read_as_from_a_directory(
    s3, store, tmp_path
):
    now_ns, old_ns = time.time_ns(), time.time_ns() - 20 * 86_400 * S
    places = store, tmp_path / "here"
    for lake in map(Lake, places):
        lake.append([one_of_each(100, at_ns=old_ns)])
        for number in range(8):
            lake.append([one_of_each(number, at_ns=now_ns)])
        assert lake.maintain(timedelta(days=10))[:3] == (24, 3, 3)

    there, here = map(Reader, places)
    since = {"since_ns": now_ns - 3600 * S, "until_ns": now_ns + S}
    assert there.statistics("c", **since) == here.statistics("c", **since)
    assert there.find_traces() == here.find_traces()
    assert [trace.spans for trace in there.find_traces()] == [8]


def test_files_that_were_merged_are_deleted_there_when_their_time_is_over(s3, store):
    place, lake = Place.of(store), Lake(store)
    for _ in range(8):
        lake.append([one_of_each(1, at_ns=time.time_ns())])

    def spans_after(vacuum):
        lake.maintain(vacuum_after=vacuum)
        paths = list(objects_at(place.url, place.options).paths())
        assert [path for path in paths if path.endswith(".probe")] == []
        return len([path for path in paths if path.startswith("spans/date=")])

    assert spans_after(timedelta(hours=1)) == 8 + 1
    assert spans_after(timedelta(0)) == 1
    assert counted_in(Reader(store), "c") == 8


def test_a_collector_there_takes_in_and_answers_and_no_one_is_told_its_key(s3, store, tmp_path):
    with start(tmp_path, store=store) as collector:
        for number in range(3):
            for path, body in batch_of(1, number):
                assert httpx.post(collector.url + path, json=body).status_code == 200
        listed = command("metrics", "list", "--since", "2h", "--url", collector.url)
        traces = command("trace", "list", "--since", "2h", "--url", collector.url, "--json")
        asked = command("analyze", "slowest", "--over", store, "--format", "json")

        assert SOLD in listed.stdout, listed.stderr
        assert traces.stdout.count('"id"') == 3, traces.stderr
        assert (asked.returncode, "order" in asked.stdout) == (0, True), asked.stderr
        assert collector.stop() == 0
    assert counted_in(Reader(store), SOLD) == 3
    assert objects.SECRET not in collector.output() + asked.stderr + asked.stdout


def test_an_outage_there_is_told_to_senders_and_costs_nothing_acknowledged(s3, store, tmp_path):
    first, second = batch_of(1, 1), batch_of(1, 2)
    with (
        start(tmp_path, store=store) as collector,
        httpx.Client(base_url=collector.url, timeout=ANSWER_S) as client,
        ThreadPoolExecutor(2) as beside,
    ):
        for path, body in first:
            client.post(path, json=body).raise_for_status()

        s3.go_away()
        refused = beside.submit(client.post, second[0][0], json=second[0][1])
        asked = beside.submit(client.get, "/api/v1/traces")
        alive = client.get("/api/v1/health").status_code, refused.done()
        told = refused.result().status_code, asked.result().status_code
        health = client.get("/api/v1/health").json()
        s3.come_back()
        for path, body in second:
            client.post(path, json=body).raise_for_status()

        assert alive == (200, False)
        assert told == (503, 503)
        assert refused.result().headers["Retry-After"]
        assert "Connection refused" in asked.result().text
        assert "senders retry" in health["status"]
        assert len(collector.get("traces", since="2h")["traces"]) == 2
    assert counted_in(Reader(store), SOLD) == 2


def test_while_an_object_is_awaited_other_threads_of_the_process_go_on(s3, store):
    """Those that carry its bytes there and back are threads of this one (`objects.Way`)."""
    Lake(store).append([one_of_each(1)])

    assert [trace.spans for trace in Reader(store).find_traces()] == [1]


@pytest.mark.parametrize(
    ("changed", "url", "said"),
    [
        (
            {"AWS_ACCESS_KEY_ID": "AKIASOMEBODYELSE"},
            "s3://metrics/x",
            "its key is not accepted: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        ({}, "s3://matrics/x", "make the bucket matrics, name one that is there, or look at"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "s3://metrics/x", "at AWS_ENDPOINT_URL"),
    ],
)
def test_a_store_that_cannot_be_used_is_told_at_the_start(s3, monkeypatch, changed, url, said):
    for name, value in changed.items():
        monkeypatch.setenv(name, value)

    told = command("serve", "--store", url, "--listen", "127.0.0.1:0", "--statsd", "off")

    assert told.returncode == 4
    assert f"--store {url}: cannot " in told.stderr
    assert said in " ".join(told.stderr.split())
    assert objects.SECRET not in told.stderr


def test_a_service_that_overwrites_what_it_was_asked_to_keep_is_refused(tmp_path, monkeypatch):
    with objects.start(tmp_path, keeps_conditions=False) as careless:
        store = lead_to(careless, monkeypatch)

        with pytest.raises(StoreError, match="would lose commits") as refused:
            Lake(store)

    assert refused.value.slug == "store-overwrites"


# ---- several at once -------------------------------------------------------------------------

SENDERS = 3
BATCHES = 7
KEEPER = """
import sys, time
from datetime import timedelta
from nilometer.errors import StoreError
from nilometer.store.lake import Lake
lake = Lake(sys.argv[1])
while True:
    try:
        done = lake.maintain(timedelta(days=10))
        print(done.merged, done.dropped, flush=True)
    except StoreError as error:  # on a busy machine the server may answer too late
        print(error, file=sys.stderr)
    time.sleep(0.5)
"""


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """A store on a server of its own, reached straight."""
    with objects.start(tmp_path) as own:
        store = lead_to(own, monkeypatch)
        monkeypatch.setenv("AWS_ENDPOINT_URL", own.straight)
        yield store


@pytest.mark.timeout(300)  # a minute, on two cores that nobody else uses
def test_collectors_that_share_tables_lose_nothing_and_count_nothing_twice(shared, tmp_path):
    """Two collectors, of which one is killed, two keepers that merge and drop, and a reader."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    with (
        start(folders[0], store=shared, keep="30d") as one,
        start(folders[1], store=shared, keep="30d") as two,
        keepers(shared) as kept,
    ):
        senders = [Sender([one, two], number, BATCHES) for number in range(SENDERS)]
        with Counting(shared, senders) as counting:
            for sender in senders:
                sender.start()
            wait_for(senders, SENDERS * BATCHES // 3)
            one.kill()
            wait_for(senders, SENDERS * BATCHES // 2)
            one.restart()
            for sender in senders:
                sender.join()
    Lake(shared).maintain(timedelta(days=10))

    reader = Reader(shared)
    assert [sender.failed for sender in senders] == [""] * SENDERS
    assert spans_in(reader) == {trace: n for sender in senders for trace, n in sender.sent()}
    assert counted_in(reader, SOLD) == SENDERS * BATCHES
    assert counting.wrong == []
    assert (kept["merged"] > 0, kept["dropped"] > 0, counting.answers > 0) == (True, True, True)
    assert sum(sender.again for sender in senders) > 0


def wait_for(senders, batches):
    while acknowledged(senders) < batches and any(sender.is_alive() for sender in senders):
        time.sleep(0.05)


@contextmanager
def keepers(store):
    """Two processes that maintain the tables without a rest; what they did, at the end."""
    done = Counter()
    running = [
        subprocess.Popen(
            [sys.executable, "-c", KEEPER, store], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    try:
        yield done
        assert [each.poll() for each in running] == [None, None]
    finally:
        for each in running:
            each.kill()
            told, _ = each.communicate()
            for line in told.splitlines():
                merged, dropped = map(int, line.split())
                done.update(merged=merged, dropped=dropped)
