"""Tasks of other processes under `nilometer run`: multiprocessing's, and those of Celery."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from asyncio import CancelledError
from collections import Counter
from concurrent.futures import process
from contextlib import contextmanager, suppress
from importlib import util
from multiprocessing.process import BaseProcess

import pytest
from celery import signals
from celery.app import trace
from celery.app.amqp import AMQP
from celery.worker.request import Request

from nilometer.integrations import celery as our_celery
from nilometer.integrations import celery_sender, celery_worker
from nilometer.integrations import kombu as our_kombu
from nilometer.integrations import multiprocessing as our_multiprocessing
from nilometer.integrations import processes as our_processes
from nilometer.measure import REGISTRY, Registry
from nilometer.trace import CURRENT, drain_spans, start_root
from nilometer.trace.trigger import Triggers
from tests.brokers import rabbitmq, reachable_folder, redis  # noqa: F401
from tests.integrations.integration_kit import read

pytestmark = pytest.mark.real

KEY = "a key of the operator's"


def nilometer_run(sink, *program):
    """A command that measures a program into a file; nothing is sent before it ends."""
    words = ["-m", "nilometer", "run", "--export", f"file://{sink}", "--interval", "1h", "--"]
    return [sys.executable, *words, sys.executable, *program]


def batches(sink):
    return [json.loads(line) for line in sink.read_text().splitlines()]


def tasks(sink):
    """Readings of tasks of all processes: how many, by name and dimensions."""
    found = Counter()
    for batch in batches(sink):
        for one in batch.get("readings", ()):
            value = one["value"]
            if one["name"].startswith("task."):
                told = ",".join(sorted(text for _, text in one["dimensions"]))
                found[one["name"], told] += (
                    value["samples"] if isinstance(value, dict) else value
                )
    return dict(found)


def edges(spans):
    """Spans as (name, parent's name): all of one tree, whichever process they are from."""
    names = {one["span_id"]: one["name"] for one in spans}
    return Counter((one["name"], names.get(one["parent_id"], "")) for one in spans)


def spans_of(sink):
    return [one for batch in batches(sink) for one in batch.get("spans", ())]


# --- multiprocessing -------------------------------------------------------------------------

FAMILY = """
import multiprocessing, os, sys, time
from concurrent.futures import ProcessPoolExecutor

def work(number):
    if number == 3:
        raise LookupError("mine")
    return number

def wait(reader):
    reader.recv()

class Own(multiprocessing.Process):
    def run(self):
        sys.exit(0)

def processes(context):
    for number in (1, 3):
        child = context.Process(target=work, args=[number])
        child.start(), child.join()
        print(child.exitcode)
    killed = context.Process(target=wait, args=[context.Pipe()[0]])
    killed.start(), killed.kill(), killed.join()
    own = Own()
    own.start(), own.join()
    print(killed.exitcode, own.exitcode)

def pools(context):
    with context.Pool(2) as pool:
        print(pool.apply(work, [2]), pool.map(work, range(3), chunksize=2))
        print(list(pool.imap(work, range(2))), pool.starmap(work, [[1], [2]], chunksize=2))
        print(list(pool.imap_unordered(work, range(3), chunksize=3)))
        for function, given in ((work, [3]), (None, ())):
            try:
                pool.apply(function, given)
            except (LookupError, TypeError) as error:
                print(repr(error))
        pool.close(), pool.join()
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        print(pool.submit(work, 2).result(), list(pool.map(work, range(3), chunksize=2)))
        print(repr(pool.submit(work, 3).exception()))

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    if "unmeasured" in sys.argv:  # its children neither hear of us nor find us
        with open("nilometer.py", "w") as file:
            file.write("raise ImportError('not in this family')")
        for name in [name for name in os.environ if name.startswith(("NILO", "PYTHON"))]:
            del os.environ[name]
    processes(multiprocessing)
    pools(multiprocessing)
"""
SAID = """\
0
1
-9 0
2 [0, 1, 2]
[0, 1] [1, 2]
[0, 1, 2]
LookupError('mine')
TypeError("'NoneType' object is not callable")
2 [0, 1, 2]
LookupError('mine')
"""
# What waits is what is sent: 1 applied, 2 + 2 + 1 + 1 of `map` and the like, 1 that fails, and
# of the executor 1, 2 chunks and 1 that fails. What runs is each of them: 17 functions.
POOLED = {
    ("task.wait", "__main__.work,process_pool"): 1 + (2 + 2 + 1 + 1) + 1 + (1 + 2 + 1),
    ("task.run", "__main__.work,process_pool"): 1 + (3 + 2 + 2 + 3) + 1 + (1 + 3 + 1),
    ("task.run.errors", "LookupError,__main__.work,process_pool"): 2,
}
OF_PROCESSES = {
    ("task.wait", "__main__.Own.run,process"): 1,
    ("task.run", "__main__.Own.run,process"): 1,
    ("task.wait", "__main__.work,process"): 2,
    ("task.run", "__main__.work,process"): 2,
    ("task.run.errors", "LookupError,__main__.work,process"): 1,
    ("task.run.errors", "SIGKILL,__main__.wait,process"): 1,
}


def run_family(folder, *arguments, source=FAMILY, env=None):
    (folder / "family.py").write_text(source)
    command = nilometer_run(folder / "out.jsonl", "family.py", *arguments)
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
    )


each_method = pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])


@each_method
def test_a_child_measures_what_it_runs_and_how_long_that_waited_in_its_parent(tmp_path, method):
    ran = run_family(tmp_path, method)

    assert ran.stdout == SAID, ran.stderr
    assert tasks(tmp_path / "out.jsonl") == {**OF_PROCESSES, **POOLED}


def test_children_in_which_nobody_measures_run_what_they_are_given(tmp_path):
    ran = run_family(tmp_path, "spawn", "unmeasured")

    assert ran.stdout == SAID, ran.stderr
    assert tasks(tmp_path / "out.jsonl") == {
        ("task.run.errors", "SIGKILL,__main__.wait,process"): 1
    }


TRACED = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from nilometer import span
from nilometer.assembly import triggers
from nilometer.trace import start_root

def work(name):
    with span(name):
        pass

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    with start_root("request", request=triggers().begin()):
        child = multiprocessing.Process(target=work, args=["child"])
        child.start(), child.join()
        daemon = multiprocessing.Process(target=work, args=["daemon"], daemon=True)
        daemon.start(), daemon.join()
        with multiprocessing.Pool(1) as pool, ProcessPoolExecutor(1) as executor:
            pool.apply(work, ["applied"])
            pool.map(work, ["mapped"] * 2, chunksize=2)
            executor.submit(work, "submitted").result()
            list(executor.map(work, ["chunked"] * 2, chunksize=2))
            pool.close(), pool.join()
    with multiprocessing.Pool(1) as pool:
        pool.apply(work, ["outside"])
        pool.close(), pool.join()
"""


@each_method
def test_one_tree_spans_a_request_and_the_processes_that_work_for_it(tmp_path, method):
    ran = run_family(tmp_path, method, source=TRACED, env={"NILOMETER_TRACE_KEYS": KEY})

    assert (ran.returncode, ran.stderr) == (0, "")
    names = [*("child", "applied", "submitted"), *(["mapped", "chunked"] * 2)]
    expected = Counter((name, "run __main__.work") for name in names)
    expected[("run __main__.work", "request")] = len(names)
    expected[("request", "")] = 1
    spans = spans_of(tmp_path / "out.jsonl")
    assert edges(spans) == expected
    assert len({one["trace_id"] for one in spans}) == 1


def test_the_clock_of_waits_is_the_same_in_all_processes():
    """What compares readings of two processes must be one clock of the machine."""
    assert time.get_clock_info("perf_counter").implementation == (
        "clock_gettime(CLOCK_MONOTONIC)"
    )


# --- Celery ----------------------------------------------------------------------------------

WORK = """
import asyncio, os, time
from celery import Celery
import nilometer

app = Celery("work", broker=os.environ["BROKER"], backend=os.environ["BACKEND"])
app.conf.update(broker_connection_retry_on_startup=True, task_track_started=True)

@app.task
def add(a, b):
    with nilometer.span("adding"):
        return a + b

@app.task
def fail():
    raise LookupError("hunter2")

@app.task(bind=True, max_retries=1)
def again(self):
    if not self.request.retries:
        raise self.retry(countdown=0.1)
    return sorted(self.request.headers or ())

@app.task
def nested():
    return add.apply([1, 2]).result

@app.task
def die():
    os.kill(os.getpid(), 9)

@app.task
def sleep():
    time.sleep(60)

@app.task(time_limit=1)
def late():
    time.sleep(60)

@app.task
def leave():
    raise SystemExit(3)

@app.task(bind=True, max_retries=2)
def at_once(self):
    raise self.retry(exc=LookupError(), countdown=0)

@app.task
def cancelled():
    raise asyncio.CancelledError

@app.task
def calling():
    try:
        leave.apply()
    except SystemExit:
        return 7
"""


class Setting:
    """A module of tasks, which this process sends, and workers that run them."""

    def __init__(self, folder, broker, backend):
        (folder / "work.py").write_text(WORK)
        self.folder = folder
        self.sink = folder / "out.jsonl"
        self.registry = Registry()
        self._environment = {"BROKER": broker, "BACKEND": backend}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self._environment.items():
                patch.setenv(name, value)
            spec = util.spec_from_file_location("work", folder / "work.py")
            self.work = util.module_from_spec(spec)
            spec.loader.exec_module(self.work)

    @contextmanager
    def worker(self, pool):
        """A worker with two places, until it has ended in order."""
        words = ["-m", "celery", "-A", "work", "worker", "-P", pool, "-c", "2"]
        environment = {**os.environ, **self._environment, "NILOMETER_TRACE_KEYS": KEY}
        with (self.folder / "worker.log").open("w") as log:
            worker = subprocess.Popen(
                nilometer_run(self.sink, *words),
                env=environment,
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield
            worker.send_signal(signal.SIGTERM)
            worker.wait(30)
        finally:
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)
                worker.wait()

    def close(self):
        self.work.app.close()


@pytest.fixture
def setting(request, tmp_path):
    broker = request.getfixturevalue(getattr(request, "param", "redis"))
    url = getattr(broker, "amqp_url", f"redis://127.0.0.1:{broker.port}/0")
    made = Setting(tmp_path, url, "rpc://" if url.startswith("amqp") else url)
    made.work.app.control.purge()  # what another test's worker gave back when it ended
    for one in OURS:
        assert one.install(registry=made.registry)
        assert not one.install(registry=made.registry)
    drain_spans()
    yield made
    for one in OURS:
        one.uninstall()
    made.close()


OURS = (our_celery, celery_sender, celery_worker, our_kombu)


def celery(name, *errors):
    return ",".join(sorted([*errors, "celery", f"work.{name}"]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "pool"),
    [
        *(("rabbitmq", "prefork"), ("redis", "prefork")),
        *(("redis", "threads"), ("rabbitmq", "solo"), ("redis", "gevent")),
    ],
    indirect=["setting"],
)
def test_a_task_of_celery_waits_runs_fails_and_is_tried_again_in_the_senders_trace(
    setting, pool
):
    work = setting.work
    with setting.worker(pool):
        assert work.add.delay(1, 2).get(30) == 3  # of no trace
        with start_root("request", request=Triggers([KEY]).begin()):
            sent = [work.add.delay(1, 2), work.again.delay(), work.nested.delay()]
            failed = work.fail.delay()
        assert [one.get(30) for one in sent] == [3, [], 3]  # no header of ours is left
        with pytest.raises(LookupError, match="hunter2"):
            failed.get(30)

    assert {k: v for k, v in tasks(setting.sink).items() if "celery" in k[1].split(",")} == {
        ("task.wait", celery("add")): 2,
        ("task.run", celery("add")): 3,  # and one without a worker
        ("task.wait", celery("again")): 2,
        ("task.run", celery("again")): 2,
        ("task.retries", celery("again")): 1,
        ("task.wait", celery("nested")): 1,
        ("task.run", celery("nested")): 1,
        ("task.wait", celery("fail")): 1,
        ("task.run", celery("fail")): 1,
        ("task.run.errors", celery("fail", "LookupError")): 1,
    }
    assert trees(setting) == {
        "adding": [
            "request/publish celery/process celery/run work.add/adding",
            "request/publish celery/process celery/run work.nested/run work.add/adding",
        ],
        "run work.again": [
            RAN,
            f"{RAN}/publish celery/process celery/run work.again",
        ],
        "run work.fail": ["request/publish celery/process celery/run work.fail"],
    }


RAN = "request/publish celery/process celery/run work.again"


def trees(setting):
    """The ways from the request to some of its spans, by their names."""
    spans = {one["span_id"]: (one["name"], one["parent_id"]) for one in spans_of(setting.sink)}
    for one in drain_spans():
        spans[one.span_id.hex()] = one.name, one.parent_id.hex()

    def way(span_id):
        name, parent = spans[span_id]
        return f"{way(parent)}/{name}" if parent in spans else name

    return {
        wish: sorted(way(one) for one, (name, _) in spans.items() if name == wish)
        for wish in ("adding", "run work.again", "run work.fail")
    }


def test_a_task_whose_child_was_killed_has_failed_and_one_that_was_revoked_is_counted(
    setting, wait_until
):
    work = setting.work
    with setting.worker("prefork"):
        with pytest.raises(Exception, match="SIGKILL"):
            work.die.delay().get(30)
        expired = work.add.apply_async([1, 2], expires=-1)
        with pytest.raises(Exception, match="expired"):
            expired.get(30)
        running = work.sleep.delay()
        wait_until(lambda: running.state == "STARTED", what="a child runs the task")
        running.revoke(terminate=True)
        with pytest.raises(Exception, match="terminated"):
            running.get(30)

    found = tasks(setting.sink)
    assert {key: found.get(key) for key in REVOKED} == REVOKED


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["prefork", "gevent", "threads", "solo"])
def test_a_task_that_breaks_off_has_failed_once_whoever_tells(setting, pool):
    work = setting.work
    late = 2 if pool in ("prefork", "gevent") else 0  # of others a time limit is none
    with setting.worker(pool):
        for _ in range(late):
            with pytest.raises(Exception, match="TimeLimitExceeded"):
                work.late.delay().get(30)
        if pool != "solo":  # which it would end
            with suppress(Exception, CancelledError):
                work.cancelled.delay().get(5)
        assert work.calling.delay().get(30) == 7
        for one in [work.at_once.delay() for _ in range(40)]:
            with pytest.raises(LookupError):
                one.get(30)
        with suppress(Exception):
            work.leave.delay().get(5)

    errors = Counter()
    for (name, told), count in tasks(setting.sink).items():
        if name == "task.run.errors":
            errors[next(text for text in told.split(",") if "work." in text)] += count
    expected = {"work.late": late, "work.cancelled": pool != "solo", "work.leave": 2}
    expected["work.at_once"] = 40
    assert errors == Counter({name: count for name, count in expected.items() if count})


REVOKED = {
    ("task.run.errors", celery("sleep", "SystemExit")): None,
    ("task.run.errors", celery("die", "WorkerLostError")): 1,
    ("task.revoked", celery("add", "expired")): 1,
    ("task.revoked", celery("sleep", "terminated")): 1,
}


def test_a_fault_of_ours_costs_no_task(setting, monkeypatch):
    def broken(*_):
        raise LookupError("ours")

    monkeypatch.setattr(our_celery, "waited_ns", broken)
    REGISTRY.collect()
    ended = trace.build_tracer("work.add", setting.work.add, app=setting.work.app)(
        "1", [1, 2], {}, {"nilometer_sent": "a.1.1"}
    )

    assert (ended.retval, ended.info) == (3, None)
    assert read(REGISTRY)["nilometer.lost"] == {"reason=unreadable,what=attributes": 1}


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_task_that_is_killed_where_it_runs_closes_what_it_opened(setting, error):
    @setting.work.app.task(name="work.stop")
    def stop():
        raise error(1)

    with start_root("request", request=Triggers([KEY]).begin()), pytest.raises(error):
        stop.apply()
    with pytest.raises(error):
        stop.apply()

    run, _ = drain_spans()
    assert (run.name, run.status.name) == ("run work.stop", "ERROR")
    name = "task.kind=celery,task.name=work.stop"
    readings = read(setting.registry)
    assert readings["task.run.errors"] == {f"error.type={error.__name__},{name}": 2}
    assert readings["task.run"] == {name: 2}
    assert CURRENT.get() is None


def test_off_neither_adds_a_header_nor_measures(setting):
    setting.registry.set_level("integrations.celery", "off")
    with setting.work.app.connection_for_read() as connection:
        queue = connection.SimpleQueue("celery")
        setting.work.add.delay(1, 2)
        headers = queue.get(timeout=10).headers

    assert "nilometer_sent" not in headers
    assert "task.run" not in read(setting.registry)


def test_uninstalling_leaves_nothing_behind(setting):
    places = (
        *((BaseProcess, name) for name in ("start", "join", "_bootstrap")),
        *((process.ProcessPoolExecutor, "submit"), (process, "_process_worker")),
    )
    theirs = (trace, "build_tracer"), (AMQP, "_create_task_sender"), (Request, "__init__")
    wrapped = [getattr(*place) for place in theirs]
    before = [getattr(*place) for place in places]
    for one in (our_multiprocessing, our_processes):
        assert one.install(registry=setting.registry)
    assert all(getattr(*place) is not was for place, was in zip(places, before, strict=True))
    for one in (our_multiprocessing, our_processes, *OURS):
        one.uninstall()

    assert [getattr(*place) for place in places] == before
    assert all(getattr(*place) is not was for place, was in zip(theirs, wrapped, strict=True))
    named = [one for one in vars(signals).values() if isinstance(one, signals.Signal)]
    assert [
        key for one in named for (key, _) in one.receivers if our_celery.__name__ in key
    ] == []
    assert setting.registry.followers == []
