"""Of C and Python the chooser takes what fits: what does not gives way, and says why."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from nilometer import twin

SRC = Path(twin.__file__).parent
COMPILED = sorted(
    f"nilometer.{path.relative_to(SRC).with_suffix('').as_posix().replace('/', '.')}"
    for path in SRC.glob("*/_*.c")
)
STALE = f"was built from other sources than these: {twin.SLOWER}"
# A bit of everything that a twin may serve, in one process.
PROGRAM = """
import sqlite3, nilometer
from nilometer import twin
from nilometer.integrations import asyncio as loops
from nilometer.integrations import sqlite3 as patched
from nilometer.integrations import wsgi
from nilometer.trace.trigger import Triggers, new_trigger
from nilometer.trace import drain_spans
from nilometer.store import jsontexts
from nilometer.wire import otlp, otlp_spans
from nilometer.measure import REGISTRY
from nilometer.model import Batch, Resource

KEY = "a key of at least sixteen bytes"

@nilometer.traced
@nilometer.timer("twin.work")
def app(environ, start_response):
    connection = sqlite3.connect(":memory:")
    assert connection.execute("SELECT 1").fetchall() == [(1,)]
    start_response("200 OK", [])
    return [b"alive"]

assert patched.install() and loops.install()
served = wsgi.Middleware(app, triggers=Triggers([KEY]))
asked = {f"HTTP_{k.upper().replace('-', '_')}": v for k, v in new_trigger(KEY).headers.items()}
environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "wsgi.url_scheme": "http", **asked}
body = served(environ, lambda status, headers, error=None: None)
assert b"".join(body) == b"alive"
body.close()
spans = drain_spans()
assert [span.name for span in spans][-2:] == ["app", "GET"], spans
readings = REGISTRY.collect()[0]
batch = Batch(Resource(service="twin"), tuple(readings), tuple(spans))
assert otlp.encode_metrics(batch) and otlp.encode_traces(batch)
print(*(f"{c.module}={c.implementation}={c.because}" for c in twin.CHOICES.values()), sep="\\n")
"""


@pytest.fixture
def copy(tmp_path):
    """The package with its C twins, to be changed."""
    shutil.copytree(SRC, tmp_path / "nilometer", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "nilometer"


def run(copy, *arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=copy.parent,
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("NILOMETER_")},
            "PYTHONPATH": str(copy.parent),
            "PYTHONDONTWRITEBYTECODE": "1",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=100,
    )


IN_ANOTHER_INTERPRETER = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

failed = interpreters.run_string(interpreters.create(), PROGRAM)
assert failed is None, failed
"""


def test_another_interpreter_shares_nothing_with_the_first(copy):
    """Where C has static variables, it serves the first one that loads it."""
    flushed = PROGRAM + "import sys; sys.stdout.flush()\n"
    in_another = f"PROGRAM = {flushed!r}{IN_ANOTHER_INTERPRETER}"

    done = run(copy, "-c", flushed + in_another)

    assert done.returncode == 0, done.stderr
    said = [line.split("=", 2) for line in done.stdout.splitlines()]
    shared = {
        "nilometer.measure._core",
        "nilometer.store._jsontexts",
        "nilometer.wire._otlp",
        "nilometer.wire._otlp_spans",
    }
    first, second = said[: len(COMPILED)], said[len(COMPILED) :]
    assert {name: kind for name, kind, _ in first} == dict.fromkeys(COMPILED, "c")
    assert {name: kind for name, kind, _ in second} == {
        name: "c" if name in shared else "python" for name in COMPILED
    }


def pull(file: Path) -> None:
    """Change a source, as `git pull` does without a build."""
    file.write_text(file.read_text() + "\n/* newer */\n")


@pytest.mark.parametrize("stale", COMPILED)
def test_one_that_was_built_from_other_sources_gives_way_and_all_goes_on(copy, stale):
    pull(copy / (stale.partition(".")[2].replace(".", "/") + ".c"))

    done = run(copy, "-c", PROGRAM)

    assert done.returncode == 0, done.stderr
    said = dict(line.split("=", 1) for line in done.stdout.splitlines())
    fits = "c=the compiled twin is installed"
    gives_way = f"python={stale} {STALE}"
    assert said == {name: gives_way if name == stale else fits for name in COMPILED}


def test_a_header_that_it_reaches_counts_as_its_source(copy):
    pull(copy / "native.h")

    done = run(copy, "-c", PROGRAM)

    assert done.returncode == 0, done.stderr
    stale = {line.split("=")[0] for line in done.stdout.splitlines() if "=python=" in line}
    assert stale == {
        "nilometer.integrations._http",
        "nilometer.integrations._loop",
        "nilometer.integrations._sql",
        "nilometer.measure._core",
        "nilometer.trace._core",
    }


def test_the_doctor_finds_it_and_a_measured_program_lives(copy):
    pull(copy / "trace" / "spans.h")

    doctor = run(copy, "-m", "nilometer", "doctor", "--json")
    program = ("--", sys.executable, "-c", "print('alive')")
    measured = run(copy, "-m", "nilometer", "run", "--export", "log://", *program)

    told = [f for f in json.loads(doctor.stdout) if f["name"] == "trace._core"]
    assert doctor.returncode == 5, doctor.stderr
    assert [(one["value"], one["because"], one["healthy"]) for one in told] == [
        ("python", f"nilometer.trace._core {STALE}", False)
    ]
    assert (measured.returncode, measured.stdout) == (0, "alive\n"), measured.stderr


def test_where_c_is_required_it_is_an_error(copy):
    pull(copy / "measure" / "_core.c")

    done = run(copy, "-c", "import nilometer; nilometer.timer", NILOMETER_REQUIRE_C="1")

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ImportError: nilometer.measure._core was built from other sources than these"
    )


def test_without_the_sources_what_was_installed_together_is_trusted(copy):
    for file in (*copy.rglob("*.c"), *copy.rglob("*.h")):
        file.unlink()

    done = run(copy, "-c", PROGRAM)

    assert done.returncode == 0, done.stderr
    assert [line.split("=")[1] for line in done.stdout.splitlines()] == ["c"] * len(COMPILED)


def test_one_that_was_not_built_by_setup_py_gives_way(monkeypatch):
    compiled = import_module("nilometer.trace._core")
    monkeypatch.setattr(compiled, "SOURCES", "unknown")
    monkeypatch.setattr(twin, "CHOICES", {})
    monkeypatch.delenv("NILOMETER_PURE_PYTHON", raising=False)
    monkeypatch.delenv("NILOMETER_REQUIRE_C", raising=False)

    chosen = twin.choose("nilometer.trace.pure", compiled.__name__)

    assert chosen.__name__ == "nilometer.trace.pure"


@pytest.fixture
def stale_module(tmp_path, monkeypatch):
    """``stale_module(text)``: the name of a module that could be a C twin of old."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(twin, "CHOICES", {})
    monkeypatch.delenv("NILOMETER_PURE_PYTHON", raising=False)
    monkeypatch.delenv("NILOMETER_REQUIRE_C", raising=False)

    def make(text: str) -> str:
        (tmp_path / "a_stale_twin.py").write_text(text)
        monkeypatch.delitem(sys.modules, "a_stale_twin", raising=False)
        return "a_stale_twin"

    return make


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SOURCES = None",
        "import nilometer.trace as t; t.was_here_once",
        "raise SystemError('what C raises where it forgot to')",
    ],
)
def test_one_from_before_sources_were_told_gives_way_however_it_fails(stale_module, text):
    compiled = stale_module(text)

    assert twin.choose("nilometer.trace.pure", compiled).__name__ == "nilometer.trace.pure"
    assert twin.CHOICES[compiled].because == (f"{compiled} {STALE}")
