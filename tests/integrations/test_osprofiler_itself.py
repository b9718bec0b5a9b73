"""OSProfiler's own tests, as its wheel ships them, run against the drop-in.

What does not pass stands in a table of docs/openstack.md, with its reason; no more, no less.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "openstack.md").read_text()

MODULES = [
    *("test_profiler", "test_web", "test_utils", "test_notifier", "test_sqlalchemy"),
    *("drivers.test_base", "test_opts", "test_initializer"),
]
"""Last those that configure the process: afterwards a key that was made up opens nothing."""

NO_TEST = {".test_fn_exc", "test_profiler.test_fn_exc"}
"""A function that its tests decorate; pytest takes it for a test, stestr does not."""


def excepted(column):
    """The tests whose row says in that column that they fail."""
    table = PAGE[PAGE.index("| OSProfiler's test |") :].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    return {re.sub("`", "", row[0]) for row in rows if row[column] == "fails"}


def test_each_defect_of_osprofiler_has_a_row_and_each_row_its_test():
    table = PAGE[PAGE.index("| # | OSProfiler |") :].split("\n\n")[0]
    rows = {line.split("|")[1].strip(): line for line in table.splitlines()[2:]}
    laws = (Path(__file__).parent / "test_osprofiler.py").read_text()
    numbered = re.findall(r"^def (test_(\d\d)_\w+)", laws, re.M)

    named = {
        (test, int(test[5:7]))
        for line in rows.values()
        for test in re.findall(r"test_\d\d_\w+", line)
    }

    assert list(rows) == [str(number) for number in range(1, 20)]
    assert named == {(test, int(number)) for test, number in numbered}
    others = {number for number, line in rows.items() if "does not apply" in line}
    assert others == {"13", "18", "19"}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("values", "column"), [("true", 1), ("false", 2)])
def test_osprofiler_s_own_tests_pass_but_for_those_that_the_docs_list(tmp_path, values, column):
    told = tmp_path / "told.xml"
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NILOMETER_")}

    ran = subprocess.run(
        [
            *(sys.executable, "-m", "nilometer", "run", "--integrations", "osprofiler"),
            *("--osprofiler-values", values, "--"),
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"),
            *(f"--junitxml={told}", "--pyargs"),
            *(f"osprofiler.tests.unit.{module}" for module in MODULES),
        ],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert told.is_file(), ran.stdout + ran.stderr
    cases = list(ET.parse(told).iter("testcase"))
    failed = {named(case) for case in cases if case.find("failure") is not None}
    assert [case.attrib for case in cases if case.find("error") is not None] == []
    assert failed - NO_TEST == excepted(column)
    assert len(cases) > 90


@pytest.mark.parametrize("first", ["profiler", "web", "sqlalchemy", "initializer", "opts"])
def test_whichever_of_its_modules_a_service_imports_first_all_are_replaced(tmp_path, first):
    program = (
        f"import osprofiler.{first}; from osprofiler import (profiler, web, notifier, _utils,"
        "initializer, requests, sqlalchemy)\n"
        "for place in (profiler.start, web.enable, web.WsgiMiddleware.__call__,"
        "notifier.notify, _utils.signed_unpack, initializer.init_from_conf, requests.enable,"
        "sqlalchemy.add_tracing): print(place.__code__.co_filename)\n"
    )

    ran = subprocess.run(
        [
            *(sys.executable, "-m", "nilometer", "run", "--integrations", "osprofiler", "--"),
            *(sys.executable, "-c", program),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    theirs = [line for line in ran.stdout.splitlines() if "nilometer/integrations" not in line]
    assert (theirs, "[integration-fails]" in ran.stderr) == ([], False)


def named(case):
    """``WebTestCase.test_factory``, wherever it was installed."""
    kind = case.attrib["classname"].rpartition(".")[2]
    return f"{kind}.{case.attrib['name']}"
