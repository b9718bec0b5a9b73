"""What `import nilometer` costs a service: nothing that it did not ask for.

How long it takes is measured, and printed, by ``make bench``; here it is what it *does* that
counts, because a time on a busy machine proves nothing and a module too many always costs.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent.parent / "src"

# Costly parts of the standard library that a service may do without, each with what it takes
# on the machine of the first measurement. The whole import has 20 ms.
TOO_DEAR = {
    "asyncio": 25,
    "concurrent.futures": 8,
    "email": 7,
    "http": 8,
    "inspect": 6,
    "json": 3,
    "logging": 9,
    "multiprocessing": 5,
    "sqlite3": 5,
    "ssl": 7,
    "subprocess": 6,
    "tomllib": 4,
    "unittest": 10,
    "urllib.request": 15,
}


def isolated(code: str, **env: str) -> str:
    """What a bare interpreter prints: no site-packages, so only the standard library and us."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {str(SRC)!r})\n{code}"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": "", "NILOMETER_REQUIRE_C": "", **env},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# The package's names are loaded at first use: what counts is what using them costs.
USE = "import nilometer; nilometer.counter, nilometer.timer, nilometer.span, nilometer.traced"


def loaded_by_import(**env: str) -> set[str]:
    code = f"before = set(sys.modules)\n{USE}\nprint(*(set(sys.modules) - before))"
    return set(isolated(code, **env).split())


@pytest.mark.parametrize("pure", ["", "1"], ids=["c", "python"])
def test_it_loads_the_standard_library_and_ourselves_and_nothing_else(pure: str) -> None:
    strangers = {
        name
        for name in loaded_by_import(NILOMETER_PURE_PYTHON=pure)
        if name.partition(".")[0] not in sys.stdlib_module_names | {"nilometer"}
    }

    assert strangers == set()


def test_it_loads_no_costly_part_of_the_standard_library() -> None:
    assert loaded_by_import() & set(TOO_DEAR) == set()


def test_no_annotation_is_compiled_while_it_is_imported() -> None:
    """`typing` asks for that where a tuple's are text; the first of a process takes 1 ms.

    What `namedtuple` itself evaluates, a lambda for each tuple, is none.
    """
    code = f"""
import sys
seen = []
sys.addaudithook(lambda event, args: event == "compile" and seen.append(args))
{USE}
print([text for text, file in seen if file == "<string>" and not text.startswith(b"lambda")])
"""

    assert isolated(code).strip() == "[]"


def test_it_loads_only_what_measures() -> None:
    """No codec, no exporter, no table: they come with `configure`, or never."""
    ours = {name for name in loaded_by_import() if name.startswith("nilometer.")}
    folders = {name.split(".")[1] for name in ours}

    assert folders <= {"model", "measure", "trace", "errors", "clock", "twin"}


def test_it_opens_no_socket_and_starts_no_thread() -> None:
    code = f"""
import os, threading
seen = []
sys.addaudithook(lambda event, args: event.startswith("socket.") and seen.append(event))
files = set(os.listdir("/proc/self/fd"))
{USE}
print(seen, threading.active_count(), set(os.listdir("/proc/self/fd")) - files)
"""

    # listdir itself has one descriptor open, the same number both times
    assert isolated(code).strip() == "[] 1 set()"


def test_every_part_that_a_service_needs_can_be_imported_without_any_dependency() -> None:
    """The base install has none; what needs one says so when it is used, not when imported."""
    needs_extras = {"analyze", "api", "cli", "collect", "store", "web", "__main__", "bootstrap"}
    needs_extras |= {"pytest_plugin"}  # a guest of pytest
    needs_extras |= {"subunit2sql_plugin"}  # a guest of subunit2sql, which brings what it needs
    needs_extras |= {"integrations.osprofiler.driver"}  # a guest of OSProfiler, which loads it
    needs_extras |= {"openstack"}  # a guest of oslo.config and PasteDeploy
    needs_extras |= {"wire.otlp_in", "wire.otlp_json"}  # the collector reads with protobuf
    needs_extras |= {"wire.otlp_protobuf", "wire.otlp_spans", "wire.otlp_spans_pure"}
    names = [
        ".".join(path.relative_to(SRC / "nilometer").with_suffix("").parts)
        for path in sorted((SRC / "nilometer").rglob("*.py"))
        if path.name != "__init__.py"
    ]
    base = [
        f"nilometer.{name}"
        for name in names
        if name not in needs_extras and name.partition(".")[0] not in needs_extras
    ]

    isolated("\n".join(f"import {name}" for name in base))


def test_every_c_file_is_built_and_chosen() -> None:
    """One that nobody chooses is dead; one that does not load is a silent slowness."""
    package = SRC / "nilometer"
    choosers = [
        ".".join(path.relative_to(SRC).with_suffix("").parts)
        for path in package.rglob("*.py")
        if re.search(r"\bchoose\(\s*\"nilometer\.", path.read_text())
    ]
    code = "\n".join(f"import {name}" for name in choosers)
    code += "\nfrom nilometer.twin import CHOICES"
    code += "\nprint(*(f'{c.module}={c.implementation}' for c in CHOICES.values()))"

    said = set(isolated(code, NILOMETER_PURE_PYTHON="", NILOMETER_REQUIRE_C="1").split())

    twins = [path.relative_to(SRC).with_suffix("").parts for path in package.glob("*/_*.c")]
    assert said == {f"{'.'.join(twin)}=c" for twin in twins}


def cpu_ns(code: str, compiled: Path) -> int:
    """CPU time that code takes in a fresh interpreter, which itself is not counted.

    What is imported is compiled into a folder once, as it is where a service runs.
    """
    timed = f"import time\nbegan = time.process_time_ns()\n{code}\n"
    told = {"PYTHONPYCACHEPREFIX": str(compiled), "PYTHONDONTWRITEBYTECODE": ""}
    return int(isolated(timed + "print(time.process_time_ns() - began)", **told))


def test_importing_it_takes_less_than_a_service_pays_for_asyncio_anyway(
    tmp_path: Path,
) -> None:
    """20 ms where asyncio takes 25: as a ratio, by turns, the least of each, on any machine.

    What else runs can only make it seem dearer, so one try of three is enough.
    """
    shares = []
    for _ in range(3):
        rounds = [(cpu_ns(USE, tmp_path), cpu_ns("import asyncio", tmp_path)) for _ in range(7)]
        ours, asyncio = (min(each) for each in zip(*rounds, strict=True))
        shares.append(ours / asyncio)
        if shares[-1] < 20 / TOO_DEAR["asyncio"]:
            return

    pytest.fail(f"importing it takes {min(shares):.2f} of what asyncio takes; 0.80 is the most")
