"""Workers of uWSGI report, and its master runs no thread of ours, whatever is measured."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.integrations.served import SOURCE, command

APP = """
import sqlite3

def application(environ, start_response):
    connection = sqlite3.connect(":memory:")
    connection.execute("select 1").fetchall()
    connection.close()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
DECORATED = APP + "\nfrom uwsgidecorators import postfork\n"
HOOKED = (
    APP.replace("    connection =", "    import colorsys\n    connection =", 1)
    + "\nimport uwsgi\nuwsgi.post_fork_hook = lambda: None\n"
)
ONLY_STORES = ("--integrations", "sqlite3")
ALL_BUT_UWSGI = ("--integrations", "auto", "--integrations-off", "uwsgi")


def asked(out: Path) -> int:
    """How many operations of the database were told so far."""
    lines = out.read_text().splitlines() if out.exists() else ()
    return sum(
        reading["value"]["samples"]
        for line in lines
        for reading in json.loads(line)["readings"]
        if reading["name"] == "db.client.operation"
    )


@pytest.mark.real
@pytest.mark.parametrize(
    ("app", "chosen"),
    [(APP, ONLY_STORES), (DECORATED, ONLY_STORES), (HOOKED, ONLY_STORES), (APP, ALL_BUT_UWSGI)],
    ids=["only sqlite3", "uWSGI's decorators", "a hook of its own", "all but uwsgi"],
)
def test_workers_report_while_they_run_though_their_requests_are_not_measured(
    app, chosen, tmp_path, free_port, start_process, wait_until
):
    port, out = free_port(), tmp_path / "out.jsonl"
    (tmp_path / "site_app.py").write_text(app)
    process = start_process(
        [
            *(sys.executable, "-m", "nilometer", "run", *chosen),
            *("--interval", "200ms", "--export", f"file://{out}", "--"),
            *command("uwsgi module", port, tmp_path),
            *("--master", "--processes", "2", "--enable-threads"),
        ],
        ready=port,
        cwd=tmp_path,
        env={"PYTHONPATH": f"{tmp_path}:{SOURCE}"},
    )
    for _ in range(10):
        requests.get(f"http://127.0.0.1:{port}/", timeout=10)

    wait_until(lambda: asked(out) >= 10, what="the workers report")
    assert len(list(Path(f"/proc/{process.pid}/task").iterdir())) == 1


BECOMING = """
import os, sys, types
import nilometer

def threads():
    return len(os.listdir("/proc/self/task"))

nilometer.configure(export=["file://OUT"], interval_s=600, integrations=CHOSEN)
told = [threads()]
import pyuwsgi
told.append(threads())
uwsgi = sys.modules["uwsgi"] = types.ModuleType("uwsgi")
uwsgi.opt = {"enable-threads": True}
uwsgi.masterpid = os.getpid
import this_is_the_application
told += [threads(), uwsgi.post_fork_hook.__module__]
uwsgi.masterpid = lambda: 0
uwsgi.post_fork_hook()
told.append(threads())
embedding = sys.modules.get("nilometer.integrations.uwsgi")
told.append(embedding is not None and embedding._embedded is not None)
print(told)
"""


@pytest.mark.parametrize("chosen", [["sqlite3"], ["auto"]], ids=["sqlite3", "auto"])
def test_a_python_that_becomes_a_uwsgi_rests_until_its_workers_are_forked(chosen, tmp_path):
    """By `pyuwsgi`: what is there of it, as far as it matters here."""
    (tmp_path / "pyuwsgi.py").write_text("")
    (tmp_path / "this_is_the_application.py").write_text("def application(*_): pass\n")
    source = BECOMING.replace("OUT", str(tmp_path / "out.jsonl")).replace("CHOSEN", str(chosen))

    ended = subprocess.run(
        [sys.executable, "-c", source],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{SOURCE}"},
        capture_output=True,
        text=True,
        timeout=30,
    )

    before, become, loaded, hook, worker, is_measured = eval(ended.stdout)
    assert (become, loaded, hook) == (1, 1, "nilometer.export.threads")
    assert before == worker > 1
    assert is_measured == (chosen == ["auto"])
