"""Dimensions out of a call: by path, by a hook, by Tach's helpers; and what they never do."""

from __future__ import annotations

import asyncio
import signal
import tracemalloc
from importlib import import_module
from types import SimpleNamespace

import pytest

from nilometer.integrations import faults
from nilometer.integrations.patching import Patching
from nilometer.measure import Registry
from nilometer.setting_tach import read as read_tach
from tests.integrations.integration_kit import read, traced_request
from tests.integrations.patched import library_of, patching

library = pytest.fixture(library_of, name="library")


@pytest.fixture
def laid(registry):
    """Make patches that are taken off again, whatever the test comes to."""
    made = []

    def lay(*tables, registry=registry):
        made.append(patching(registry, *tables))
        return made[-1]

    yield lay
    for one in made:
        one.end()


def table(target, make="timer", **rest):
    return {"target": f"patched_lib:{target}", "make": make, "name": "it", **rest}


CONTEXT = SimpleNamespace(project_id="acme", roles=["admin", "user"], limits={"7": "seven"})


@pytest.mark.parametrize("make", ["timer", "counter"])
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("instance[host]", "c1"),
        ("instance['host']", "c1"),
        ("context.project_id", "acme"),
        ("context.roles[1]", "user"),
        ("context.roles[-1]", "user"),
        ("context.limits[7]", "seven"),
        ("context.limits", "{'7': 'seven'}"),
        ("1[host]", "c1"),
        ("return[host]", "c1"),
        ("instance[gone]", None),
        ("instance.host", None),
        ("context.roles[9]", None),
        ("context.roles[x]", None),
        ("nobody.there", None),
        ("9", None),
        ("return.gone", None),
    ],
)
def test_a_dimension_lies_where_its_path_leads_or_is_left_out(
    library, laid, registry, make, path, expected
):
    laid(table("Base.save", make, dimensions={"found": path}))
    module = library.load()
    module.Base().save({"host": "c1"}, CONTEXT)
    module.Base().save({"host": "c1"}, context=CONTEXT)
    module.Base().save(context=CONTEXT, instance={"host": "c1"})

    dimensions = "" if expected is None else f"found={expected}"
    assert read(registry) == {"it": {dimensions: 3}}


def test_an_argument_is_found_however_it_is_passed_and_a_default_counts(
    library, laid, registry
):
    dimensions = {"a": "a", "b": "b", "third": "rest[0]", "key": "key", "word": "others[word]"}
    laid(table("plain", "counter", dimensions=dimensions))
    module = library.load()
    module.plain(1)
    module.plain(b=3, a=1, key="k", word="w")
    module.plain(1, 2, 3)

    assert read(registry) == {
        "it": {"a=1,b=2": 1, "a=1,b=3,key=k,word=w": 1, "a=1,b=2,third=3": 1}
    }


@pytest.mark.parametrize(
    "target", ["coroutine", "generator", "async_generator", "Base.of", "Base.static"]
)
def test_every_kind_of_callable_has_dimensions(library, laid, registry, target):
    start = {"generator": "n", "async_generator": "n", "coroutine": "a"}.get(target, "x")
    makes = ("timer", "counter", "span", "event")
    laid(*[table(target, m, name=m, dimensions={"found": start}) for m in makes])
    module = library.load()
    call = {
        "coroutine": lambda: asyncio.run(module.coroutine(2)),
        "generator": lambda: list(module.generator(2)),
        "async_generator": lambda: asyncio.run(all_of(module.async_generator(2))),
        "Base.of": lambda: module.Child.of(2),
        "Base.static": lambda: module.Base.static(2),
    }[target]
    with traced_request() as spans:
        call()

    assert read(registry) == {"timer": {"found=2": 1}, "counter": {"found=2": 1}}
    [span] = [one for one in spans if one.name == "span"]
    assert dict(span.attributes) == {"found": "2"}


async def all_of(steps):
    return [one async for one in steps]


@pytest.mark.parametrize("make", ["timer", "counter", "span"])
def test_what_only_the_result_tells_of_a_coroutine_and_of_a_call_that_raises(
    library, laid, registry, make
):
    given = {"given": "a", "gave": "return"}
    laid(
        table("coroutine", make, name="awaited", dimensions=given),
        table("fails", make, name="failed", dimensions=given),
    )
    module = library.load()
    with traced_request() as spans:
        asyncio.run(module.coroutine("x"))
        with pytest.raises(KeyError):
            module.fails("y")
    found = read(registry)
    told = {span.name: dict(span.attributes) for span in spans if span.name != "request"}

    if make == "span":
        assert told == {
            "awaited": {"given": "x", "gave": "x"},
            "failed": {"given": "y", "error.type": "KeyError"},
        }
        return
    errors = {"failed.errors": {"error.type=KeyError,given=y": 1}} if make == "timer" else {}
    assert found == {
        "awaited": {"gave=x,given=x": 1},
        "failed": {"given=y": 1},
        **errors,
    }


def test_a_generator_has_no_result_and_says_so(library, laid):
    made = laid(table("generator", dimensions={"x": "return"}))
    library.load()

    [(_, told)] = made.failed.values()
    assert "asks for the result of a generator, which has none [bad-patch]" in told


class Shy:
    """Counts who looks at it."""

    looks = 0

    def __getattr__(self, name):
        type(self).looks += 1
        raise RuntimeError("not yours")

    __str__ = __repr__ = __getattr__


def test_nothing_is_looked_at_that_is_not_asked_for(library, laid, registry):
    """Of a span nothing while untraced, of an event nothing while nothing is raised."""
    shy = Shy()
    laid(
        table("Base.save", dimensions={"host": "instance[host]"}),
        table("Base.save", "span", name="s", dimensions={"x": "context.x"}),
        table("Base.save", "event", name="e", dimensions={"x": "context.x"}),
    )
    library.load().Base().save({"host": "c1"}, shy)
    untraced = Shy.looks
    with traced_request():
        library.load().Base().save({"host": "c1"}, shy)

    assert (untraced, Shy.looks) == (0, 1)
    assert read(registry) == {"it": {"host=c1": 2}}


def test_series_are_bounded_and_the_rest_is_in_one(library, laid):
    registry = Registry(series_max=3)
    laid(table("plain", dimensions={"a": "a"}), registry=registry)
    module = library.load()
    for a in [*range(50), 0, 1]:
        module.plain(a)

    assert read(registry)["it"] == {
        "a=0": 2,
        "a=1": 2,
        "a=2": 1,
        "otel.metric.overflow=true": 47,
    }


def test_what_is_remembered_of_values_is_bounded_with_the_series(library, laid):
    registry = Registry(series_max=3)
    laid(table("plain", dimensions={"a": "a"}), registry=registry)
    module = library.load()
    for a in range(100):
        module.plain(a)
    tracemalloc.start()
    for a in range(100, 6_000):
        module.plain(a)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert held < 500_000  # a wrapper and a key each would be three megabytes


# --- Hooks ------------------------------------------------------------------------------------

HOOKS = """
def told(a, *rest, **others):
    return {"tenant": a.upper(), "n": len(rest)}

def result_told(result, a, *rest, **others):
    return {"gave": result}

def silent(*args, **kwargs):
    return None

def raising(*args, **kwargs):
    raise LookupError("with an argument: %r" % (args,))

def wrong(*args, **kwargs):
    return 7
"""


def test_a_hook_sees_arguments_or_result_and_returns_dimensions(library, laid, registry):
    library.write(HOOKS, "patched_hooks")
    laid(
        table(
            "plain",
            dimensions={"key": "key"},
            hook="patched_hooks:told",
            result_hook="patched_hooks:result_told",
        ),
        table("plain", "counter", name="n", hook="patched_hooks:silent"),
    )
    library.load().plain("acme", 2, 3, key="k")

    assert read(registry) == {"it": {"gave=acme,key=k,n=2,tenant=ACME": 1}, "n": {"": 1}}


def test_what_finds_dimensions_may_call_what_is_patched_and_is_not_asked_again(
    library, laid, registry
):
    library.write(
        "import patched_lib\ndef told(*args):\n    return {'n': patched_lib.plain(7)}\n",
        "patched_hooks",
    )
    laid(
        table("plain", hook="patched_hooks:told"),
        table("Base.load", name="load", result_hook="patched_hooks:told"),
        table("Base.size", name="size", dimensions={"n": "self.size"}),
    )
    module = library.load()
    module.plain(1)
    base = module.Base()
    base.load()
    assert base.size == 7

    assert read(registry) == {
        "it": {"n=7": 1, "": 2},
        "load": {"n=7": 1},
        "size": {"n=7": 1, "": 1},
    }


@pytest.mark.parametrize("failing", ["raising", "wrong"])
@pytest.mark.parametrize("which", ["hook", "result_hook"])
def test_a_hook_that_fails_costs_the_dimensions_and_is_said_once_without_its_text(
    library, laid, registry, caplog, monkeypatch, failing, which
):
    monkeypatch.setattr(faults, "_known", {})
    library.write(HOOKS, "patched_hooks")
    name = f"patched_hooks:{failing}"
    laid(table("plain", dimensions={"b": "b"}, **{which: name}))
    module = library.load()
    gave = [module.plain("secret") for _ in range(3)]
    [said] = [record.getMessage() for record in caplog.records]
    error = {"raising": "LookupError", "wrong": "AttributeError"}[failing]

    assert gave == ["secret"] * 3
    assert said == f"here: hook {name} raised {error}, its dimensions are missing [hook-fails]"
    assert read(registry) == {
        "it": {"b=2": 3},
        "nilometer.lost": {f"reason={name},what=hook": 3},
    }


def test_a_hook_that_fails_at_many_functions_is_said_once_for_each_patch(
    library, laid, caplog, monkeypatch
):
    monkeypatch.setattr(faults, "_known", {})
    library.write(HOOKS, "patched_hooks")
    hook = "patched_hooks:raising"
    laid(
        {"target": "patched_lib:Base.*", "hook": hook},
        {"target": "patched_lib:plain", "hook": hook},
    )
    module = library.load()
    for _ in range(2):
        module.plain(1)
        module.Base().save(1)
        module.Base().load()

    assert len(caplog.records) == 2
    assert {one.what: one.count for one in faults.known()} == {
        f"hook {hook} of patched_lib:Base.*=timer": 4,
        f"hook {hook} of patched_lib:plain=timer": 2,
    }


@pytest.mark.parametrize("make", ["timer", "counter", "span", "event"])
def test_arguments_and_dimensions_may_have_any_name(library, laid, registry, make):
    library.write("def told(**named):\n    return named\n", "patched_hooks")
    library.write("def plain(**named):\n    return named\n")
    given = {"self": "1", "name": "2", "function": "3", "pairs": "4", "kind": "5"}
    laid(table("plain", make, hook="patched_hooks:told"))
    module = library.load()
    with traced_request() as spans:
        assert module.plain(**given) == given

    shown = ",".join(f"{name}={value}" for name, value in sorted(given.items()))
    if make == "span":
        assert dict(spans[0].attributes) == given
    else:
        assert read(registry) == ({} if make == "event" else {"it": {shown: 1}})


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_what_a_signal_s_handler_raises_in_a_hook_ends_the_service_as_ever(
    library, laid, error
):
    """A handler of SIGTERM runs wherever the service is just then, and most call `sys.exit`."""
    library.write(
        "import signal\ndef told(a):\n    signal.raise_signal(signal.SIGTERM)\n",
        "patched_hooks",
    )
    library.write("def plain(a):\n    return a\n")
    laid(table("plain", hook="patched_hooks:told"))
    module = library.load()

    def ends(*_):
        raise error

    before = signal.signal(signal.SIGTERM, ends)
    try:
        with pytest.raises(error):
            module.plain(1)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_hook_may_be_an_entry_point(library, laid, registry):
    library.write(HOOKS, "patched_hooks")
    info = library.folder / "patched_hooks-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: patched-hooks\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[nilometer.hooks]\ntenant = patched_hooks:told\n")
    made = laid(table("plain", hook="tenant"), table("plain", name="other", hook="tennant"))
    library.load().plain("a")

    assert read(registry)["it"] == {"n=0,tenant=A": 1}
    [(_, told)] = made.failed.values()
    assert told == (
        "here: no hook 'tennant' among the entry points nilometer.hooks; did you mean "
        "'tenant'? (tenant) [bad-hook]"
    )


@pytest.mark.parametrize(
    ("hook", "because"),
    [
        ("patched_no_hooks:f", "ModuleNotFoundError"),
        ("patched_lib:gone", "has no attribute 'gone'"),
        ("patched_lib:CONSTANT", "is no function"),
        ("nobody", "of which there are none"),
    ],
)
def test_a_hook_that_cannot_be_found_costs_that_patch_alone(
    library, laid, registry, hook, because
):
    made = laid(table("plain", hook=hook), table("plain", name="other"))
    library.load().plain(1)

    [(_, told)] = made.failed.values()
    assert because in told
    assert read(registry)["other"] == {"": 1}


# --- Tach -------------------------------------------------------------------------------------

TACH = """
[global]
app_helper = patched_helper

[nova.save]
module = patched_lib.Base
method = save
metric = tach.metrics.ExecTime
app = saved
post_app = answered

[nova.of]
module = patched_lib.Base
method = of
metric = tach.metrics.Increment
increment = 2
app = of

[nova.plain]
module = patched_lib
method = plain
metric = tach.metrics.DebugMetric
real_metric = tach.metrics.ExecTime
app = wrong

[nova.gone]
module = patched_lib.Gone
method = plain
metric = tach.metrics.ExecTime
"""
HELPER = """
def saved(self, instance, **words):
    return (self, instance + "!"), words, "save.%s" % instance

def answered(result, self, instance, **words):
    return result + "?", ""

def of(x):
    return (x,), {}, "of.%s" % x

def wrong(*args, **kwargs):
    return "not what Tach wants"
"""


@pytest.mark.parametrize("is_there", [False, True])
def test_a_class_that_tach_looks_for_in_a_package_is_missed_unless_it_may_be_a_module(
    tmp_path, registry, monkeypatch, is_there
):
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / f"tach_package_{is_there}"
    package.mkdir()
    (package / "__init__.py").write_text("")
    if is_there:
        (package / "gone.py").write_text("def plain(): pass\n")
    (tmp_path / "tach.conf").write_text(
        f"[gone]\nmodule = {package.name}.gone\nmethod = plain\nmetric = ExecTime\n"
    )
    tach = read_tach(str(tmp_path / "tach.conf"), "--tach")
    made = Patching(tach.patches, registry=registry)
    made.begin()
    import_module(package.name)
    waiting = [str(patch) for patch in made.waiting.values()]
    failed = [because for _, because in made.failed.values()]
    made.end()

    assert waiting == ([f"{package.name}.gone:plain"] if is_there else [])
    assert len(failed) == (0 if is_there else 1)


def test_tach_s_helpers_change_arguments_and_results_and_name_the_label(library, registry):
    """Beside the file, where Tach wanted them; a class method's class they never saw."""
    (library.folder / "conf").mkdir()
    conf = library.folder / "conf" / "tach.conf"
    conf.write_text(TACH)
    (library.folder / "conf" / "patched_helper.py").write_text(HELPER)
    made = Patching(read_tach(str(conf), "--tach").patches, registry=registry)
    made.begin()
    module = library.load()
    gave = module.Base().save("vm"), module.Child.of(7), module.plain(3)
    found, waiting = read(registry), list(made.waiting)
    failed = [because for _, because in made.failed.values()]
    made.end()

    assert gave == ("vm!?", (module.Child, 7), 3)
    assert found == {
        "nova.save": {"label=save.vm": 1},
        "nova.of": {"label=of.7": 2},
        "nova.plain": {"": 1},
        "nilometer.lost": {
            f"reason={library.folder}/conf/patched_helper.py:wrong,what=hook": 1,
            "reason=patched_lib:Gone.plain,what=patch": 1,
        },
    }
    assert waiting == []  # what is no class there is no module either: patched_lib has none
    [because] = failed
    assert "patched_lib:Gone.plain matches nothing" in because
    assert "save" in vars(module.Base)
