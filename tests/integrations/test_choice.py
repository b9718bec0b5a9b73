"""Integrations arrive with their library, fail alone, and go without a trace."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from nilometer import integrations
from nilometer.integrations import Chosen, automatic
from nilometer.integrations.arrivals import Arrivals
from tests.house.declared import HERE

ROOT = Path(__file__).parents[2]


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A package that can be imported afresh, and a module of ours that serves it."""
    (tmp_path / "lib_under_test").mkdir()
    (tmp_path / "lib_under_test" / "__init__.py").write_text("PLACE = __spec__.loader\n")
    (tmp_path / "lib_under_test" / "inner.py").write_text("VALUE = 7\n")
    (tmp_path / "broken_lib_under_test.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules), list(sys.meta_path)
    yield tmp_path
    for name in set(sys.modules) - before[0]:
        if "lib_under_test" in name:
            del sys.modules[name]
    assert sys.meta_path == before[1]


def test_an_expected_module_is_told_of_once_it_has_run(library):
    told = []
    arrivals = Arrivals(lambda name: told.append((name, sys.modules[name].VALUE)))
    arrivals.expect(["lib_under_test.inner", "lib_never_imported"])
    import lib_under_test

    before = list(told)
    import lib_under_test.inner

    arrivals.end()
    assert (before, told) == ([], [("lib_under_test.inner", 7)])
    assert lib_under_test.PLACE.__class__.__name__ == "SourceFileLoader"


def test_a_followed_module_looks_as_if_nobody_had_followed_it(library):
    arrivals = Arrivals(lambda name: None)
    arrivals.expect(["lib_under_test"])
    module = importlib.import_module("lib_under_test")
    arrivals.end()

    assert module.__loader__ is module.__spec__.loader is module.PLACE
    assert type(module.__loader__).__name__ == "SourceFileLoader"


class Watchdog:
    """A finder of somebody else's that asks all others, as tracers and debuggers do."""

    def find_spec(self, name, path=None, target=None):
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(name, path, target)):
                return spec
        return None


@pytest.mark.parametrize("place", [0, 1, -1])
def test_finders_that_ask_each_other_end_and_tell_once(library, monkeypatch, place):
    told = []
    ours = [Arrivals(told.append), Arrivals(told.append)]
    for one in ours:
        one.expect(["lib_under_test"])
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    sys.meta_path.insert(place, Watchdog())
    module = importlib.import_module("lib_under_test")
    for one in ours:
        one.end()
    monkeypatch.undo()
    for one in ours:
        one.end()

    assert told == ["lib_under_test"] * 2
    assert type(module.__loader__).__name__ == "SourceFileLoader"


def test_a_module_that_cannot_be_imported_fails_as_ever(library):
    told = []
    arrivals = Arrivals(told.append)
    arrivals.expect(["broken_lib_under_test", "no_lib_under_test"])
    with pytest.raises(ZeroDivisionError):
        importlib.import_module("broken_lib_under_test")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_lib_under_test")
    arrivals.end()

    assert told == []


def test_whichever_place_cannot_be_patched_all_others_are_left_as_they_were():
    """In a process of its own, as this patches what others use."""
    program = [sys.executable, "-W", "ignore", "-m", "tests.integrations.unpatchable"]
    ran = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["left"] == []
    assert told["tried"] > 150


def test_what_measures_a_function_takes_all_calls_that_the_function_takes():
    """By whichever names: none of our parameters is in the way of what is somebody's own."""
    program = [sys.executable, "-W", "ignore", "-m", "tests.integrations.parameters"]
    ran = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["refused"] == []
    assert told["tried"] > 100


class Integration:
    def __init__(self, error=None):
        self.error = error
        self.calls = []

    def install(self, *, triggers=None):
        self.calls.append(("install", triggers))
        if self.error:
            raise self.error
        return True

    def uninstall(self):
        self.calls.append(("uninstall",))


@pytest.fixture
def serving(monkeypatch):
    """Make an integration of that name, serving a library."""

    def make(name, library, error=None):
        module = Integration(error)
        monkeypatch.setitem(integrations.LIBRARIES, name, library)
        monkeypatch.setitem(sys.modules, f"nilometer.integrations.{name}", module)
        return module

    return make


def test_an_integration_is_installed_when_its_library_arrives(library, serving):
    late = serving("late", "lib_under_test.inner")
    now = serving("now", "sys")
    chosen = Chosen(["late", "now"], triggers="the triggers")
    chosen.begin()
    first = dict(chosen.waiting), list(chosen.installed)
    importlib.import_module("lib_under_test.inner")
    second = dict(chosen.waiting), list(chosen.installed)
    chosen.end()

    assert first == ({"late": "lib_under_test.inner"}, ["now"])
    assert second == ({}, ["now", "late"])
    assert late.calls == now.calls == [("install", "the triggers"), ("uninstall",)]


def test_one_that_fails_is_said_once_and_the_others_work(library, serving, caplog):
    serving("bad", "lib_under_test", AttributeError("another version"))
    good = serving("good", "lib_under_test")
    chosen = Chosen(["bad", "good"])
    chosen.begin()
    importlib.import_module("lib_under_test")
    chosen.end()

    assert chosen.failed == {"bad": "AttributeError('another version')"}
    assert good.calls == [("install", None), ("uninstall",)]
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == (
        "integration bad fails, lib_under_test runs unmeasured: "
        "AttributeError('another version') [integration-fails]"
    )


def test_what_ended_before_it_arrived_is_not_installed(library, serving):
    late = serving("late", "lib_under_test")
    chosen = Chosen(["late"])
    chosen.begin()
    chosen.end()
    importlib.import_module("lib_under_test")

    assert late.calls == []


def test_what_is_chosen_again_for_the_same_stays_as_it_is(library, serving):
    names = ["same", "other", "gone"]
    same, other, gone = (serving(name, "sys") for name in names)
    gone.install = lambda *, slow=0: True
    first = Chosen(["same", "gone"], triggers=7, slow=1)
    first.begin()

    second = Chosen(["same", "other"], triggers=7, slow=2)
    second.begin(first)

    assert (list(second.installed), first.installed) == (["same", "other"], {})
    assert same.calls == other.calls == [("install", 7)]
    assert gone.calls == [("uninstall",)]
    second.end()


def test_what_is_chosen_again_for_another_end_ends_and_begins_anew(library, serving):
    served = serving("served", "sys")
    first = Chosen(["served"], triggers=7)
    first.begin()

    second = Chosen(["served"], triggers=8)
    second.begin(first)
    second.end()

    assert served.calls == [("install", 7), ("uninstall",), ("install", 8), ("uninstall",)]


@pytest.mark.parametrize("name", HERE)
def test_every_integration_can_be_put_on_and_taken_off(name):
    module = importlib.import_module(f"nilometer.integrations.{name}")
    importlib.import_module(integrations.LIBRARIES[name])
    done = module.install()
    again = module.install()
    module.uninstall()

    assert (done, again) == (name != "uwsgi", False)


def test_automatic_leaves_out_what_changes_the_service_s_own_output():
    assert set(integrations.LIBRARIES) - set(automatic()) == {"logging"}
