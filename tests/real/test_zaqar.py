"""`make demo-zaqar`, its short form: Zaqar from PyPI measured as it is, on real stores."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
MARK = "NILO_TEST_ZAQAR"  # in the environment of all that a run starts
DEMO = [sys.executable, "-m", "examples.zaqar.demo", "--short"]
LIMIT_S = 240
POST = "POST /v2/queues/{queue_name}/messages"

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(300)]


class Ran(NamedTuple):
    """A run that is over: how it ended, its page, and what it has left running."""

    code: int
    said: str
    page: str
    left: list[str]

    def rows(self, section: str) -> list[list[str]]:
        """The table under a heading, without the heads of its columns."""
        text = self.page.partition(f"## {section}")[2].partition("\n## ")[0]
        lines = [line for line in text.splitlines() if line.startswith("| ")]
        return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]


def left_of(mark: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            if f"{MARK}={mark}".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    page = tmp_path_factory.mktemp("zaqar") / "page.md"
    mark = uuid.uuid4().hex
    done = subprocess.run(
        [*DEMO, "--report", str(page)],
        cwd=ROOT,
        env={**os.environ, MARK: mark},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    text = page.read_text() if page.exists() else ""
    return Ran(done.returncode, done.stdout + done.stderr, text, left_of(mark))


@pytest.mark.slow
def test_all_comes_true_and_every_process_has_ended(ran: Ran) -> None:
    assert (ran.code, ran.left) == (0, []), ran.said


def test_one_tree_holds_the_client_s_call_and_every_store_s_part_in_it(ran: Ran) -> None:
    tree = ran.page.partition("```text\n")[2].partition("```")[0]
    names = [
        re.split(r" {2,}", line.strip(" │├└─"))[0]
        for line in tree.splitlines()[3:]
        if " ms " in line or " us " in line
    ]

    assert names == [
        "tell of an order",
        "POST",
        POST,
        "pooling.queue.get_metadata",
        "SELECT",
        "pooling.message.post",
        "pooling.catalogue.lookup",
        "SELECT",
        "MULTI",
        "EVALSHA",
    ]


def test_each_switch_takes_away_its_own_spans_and_no_other(ran: Ran) -> None:
    gone = {row[0]: (row[3], row[4]) for row in ran.rows("Each switch by itself")}

    pooling = "`pooling.queue.get_metadata`, `pooling.message.post`, `pooling.catalogue.lookup`"
    assert {name: what for name, what in gone.items() if name != "MongoDB"} == {
        "WSGI": (f"`{POST}`", "yes"),
        "pooling": (pooling, "yes"),
        "catalogue": ("`pooling.catalogue.lookup`", "yes"),
        "Redis": ("`MULTI`, `EVALSHA`", "yes"),
        "SQLAlchemy": ("2 x `SELECT`", "yes"),
    }
    # Without a Python 3.13 there is nobody who speaks MongoDB's protocol.
    assert gone.get("MongoDB") in (None, ("`find queues`, `find catalogue`", "yes"))


def test_the_instruments_of_each_library_have_values(ran: Ran) -> None:
    values = {(row[0], row[1]): row[2] or row[3] for row in ran.rows("What is measured")}

    wanted = {
        ("`http.server.request`", f"POST, {POST.removeprefix('POST ')}"),
        ("`db.client.operation`", "SELECT, mysql"),
        ("`db.client.operation`", "EVALSHA, redis"),
        ("`db.client.batch.operation`", "HMSET, redis"),
        ("`db.client.connect`", "redis"),
        ("`db.client.connection.wait_time`", "127.0.0.1/zaqar"),
        ("`http.server.responses`", "2xx"),
        ("`pooling.catalogue.lookup`", ""),
        ("`pooling.catalogue.register`", ""),
    }
    assert {key for key in wanted if float(values.get(key, 0)) > 0} == wanted


def test_every_way_to_run_it_was_measured_in_the_same_run(ran: Ran) -> None:
    rows = {
        row[0]: (float(row[1].replace(",", "")), row[3]) for row in ran.rows("What it costs")
    }

    assert {name: limit for name, (cpu, limit) in rows.items() if cpu > 0} == {
        "without Nilometer": "",
        "the same once more": "",
        "without, a trigger's headers": "",
        "Nilometer, off": "1%",
        "Nilometer, on and untraced": "1%",
        "Nilometer, traced": "5%",
        "OSProfiler, untraced": "",
        "OSProfiler, traced": "",
    }


@pytest.mark.slow
def test_ctrl_c_ends_it_and_all_that_it_started() -> None:
    mark = uuid.uuid4().hex
    demo = subprocess.Popen(
        DEMO,
        cwd=ROOT,
        env={**os.environ, MARK: mark},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert demo.stderr is not None
        said = next(line for line in demo.stderr if "for each switch" in line)
        time.sleep(0.5)  # some of these servers are up by now, some are not
        demo.send_signal(signal.SIGINT)
        rest = demo.stderr.read()
        code = demo.wait(60)
    finally:
        if demo.poll() is None:
            os.killpg(demo.pid, signal.SIGKILL)
        demo.wait()

    assert (code, "Traceback" in rest, left_of(mark)) == (130, False, []), said + rest
