"""`nilometer patch check`: what targets match, in the source alone or in what is imported."""

from __future__ import annotations

import json
import sys

import pytest

from nilometer.cli.patch import imported, read
from nilometer.integrations.patching import Patching
from nilometer.measure import Registry
from nilometer.setting_patches import patches

SHOP = """
import functools
from json import dumps

raise_on_import = True
if raise_on_import:
    print("imported")


def total(cart, tax=0):
    def inner():
        yield 1

    return cart


async def fetch(cart):
    return cart


try:
    def items(cart):
        yield cart
except NameError:
    pass


async def pages(cart):
    yield cart


def _private(cart):
    return cart


class Base:
    def save(self, cart):
        return cart


class Cart(Base):
    @staticmethod
    def fresh(owner):
        return owner

    @classmethod
    def of(cls, owner):
        return owner

    @property
    def size(self):
        return 1

    @functools.lru_cache
    def price(self, item):
        return item

    @functools.cached_property
    def weight(self):
        return 2

    @functools.singledispatchmethod
    def add(self, item):
        return item
"""


@pytest.fixture
def check(nilometer, tmp_path):
    """``check(...)`` beside a module `shop_under_check`: functions by target, and the run."""
    (tmp_path / "shop_under_check.py").write_text(SHOP)

    def run(*arguments, **env):
        ran = nilometer("patch", "check", "--json", *arguments, cwd=tmp_path, **env)
        found = json.loads(ran.stdout[ran.stdout.index("[") :])
        functions = {
            one["target"].partition(":")[2]: one["functions"]
            and [(f["function"], f["kind"]) for f in one["functions"]]
            for one in found
        }
        return functions, ran

    return run


EVERYTHING = ("shop_under_check:*", "shop_under_check:*.*")
KINDS = {
    "*": [
        ("total", "function"),
        ("fetch", "coroutine function"),
        ("items", "generator function"),
        ("pages", "async generator function"),
    ],
    "*.*": [
        ("Base.save", "method"),
        ("Cart.fresh", "static function"),
        ("Cart.of", "class function"),
        ("Cart.price", "method"),
    ],
}


@pytest.mark.parametrize("flags", [(), ("--import",)])
def test_each_function_is_shown_with_its_kind_from_the_source_as_from_the_module(check, flags):
    found, ran = check(*EVERYTHING, *flags)

    assert (found, ran.returncode) == (KINDS, 0)
    told = "fetch will make coroutines that in C are none for inspect.iscoroutine"
    assert [line.rpartition(": ")[2] for line in ran.stderr.splitlines()] == [told]
    assert ran.stdout.startswith("imported") == bool(flags)


def test_what_only_the_module_knows_is_told_and_found_by_importing(check):
    targets = [f"shop_under_check:{one}" for one in ("Cart.save", "dumps", "Cart.size")]
    read, first = check(*targets)
    imported, second = check(*targets, "--import")

    assert (first.returncode, second.returncode) == (0, 0)
    assert read == {"Cart.save": None, "dumps": None, "Cart.size": [("Cart.size", "property")]}
    assert imported == {
        "Cart.save": [("Cart.save", "method")],
        "dumps": [("dumps", "function")],
        "Cart.size": [("Cart.size", "property")],
    }
    assert "shop_under_check:dumps may be inherited, imported or in C" in first.stderr


@pytest.mark.parametrize("flags", [(), ("--import",)])
def test_what_matches_nothing_is_refused_with_the_nearest_name(check, tmp_path, flags):
    (tmp_path / "nilometer.toml").write_text(
        '[[patch]]\ntarget = "shop_under_check:totl"\n\n'
        '[[patch]]\ntarget = "shop_under_check:Base.sav"\n\n'
        '[[patch]]\ntarget = "shop_under_check:total"\ndimensions = { a = "crat.id" }\n\n'
        '[[patch]]\ntarget = "no_such_shop:total"\n'
    )
    found, ran = check(*flags)
    said = ran.stderr.splitlines()

    assert ran.returncode == 2
    assert (found["totl"], found["Base.sav"]) == ([], [])
    assert [line.partition(": ")[0] for line in said] == [
        f"nilometer.toml:{n}" for n in (1, 4, 7, 11)
    ]
    assert "totl matches nothing; did you mean 'total'?" in said[0]
    assert "Base.sav matches nothing; did you mean 'save'?" in said[1]
    assert "has no parameter 'crat'; did you mean 'cart'? (cart, tax)" in said[2]
    assert "no_such_shop" in said[3]
    assert all(line.endswith("[patch-matches-nothing]") for line in said)


@pytest.mark.parametrize("flags", [(), ("--import",)])
def test_what_no_base_of_a_class_has_is_refused_too_and_what_is_no_function(check, flags):
    _, ran = check("shop_under_check:Cart.sav", *flags)
    _, other = check("shop_under_check:Cart.add", *flags)

    assert (ran.returncode, other.returncode) == (2, 2)
    assert "Cart.sav matches nothing; did you mean 'save'?" in ran.stderr
    assert "Cart.add is a singledispatchmethod" in other.stderr


def test_what_cannot_be_made_of_a_function_is_refused_where_it_is_imported(check, tmp_path):
    (tmp_path / "nilometer.toml").write_text(
        '[[patch]]\ntarget = "shop_under_check:total"\nname = "shop"\n'
        '[[patch]]\ntarget = "shop_under_check:fetch"\nname = "shop"\nmake = "counter"\n'
        '[[patch]]\ntarget = "shop_under_check:items"\ndimensions = { n = "return.n" }\n'
        '[[patch]]\ntarget = "shop_under_check:pages"\nname = "{class}"\n'
        '[[patch]]\ntarget = "datetime:datetime.now"\n'
        '[[patch]]\ntarget = "shop_under_check:Cart.of"\n'
    )

    functions, ran = check("--import")

    told = [line for line in ran.stderr.splitlines() if line.startswith("nilometer.toml:")]
    expected = [
        "nilometer.toml:4: shop_under_check:fetch: ",
        "nilometer.toml:8: shop_under_check:items asks for the result of a generator",
        "nilometer.toml:11: shop_under_check:pages: name must not be empty",
        "nilometer.toml:14: datetime:datetime.now is of a class written in C",
    ]
    assert [line.startswith(one) for line, one in zip(told, expected, strict=True)] == [
        True
    ] * 4
    assert "counter 'shop' in '1' was made as a timer" in told[0]
    assert (functions["fetch"], ran.returncode) == ([("fetch", "coroutine function")], 2)
    assert functions["Cart.of"] == [("Cart.of", "class function")]


@pytest.mark.parametrize("flags", [(), ("--import",)])
def test_a_cached_property_is_refused_and_no_pattern_takes_it(check, flags):
    _, ran = check("shop_under_check:Cart.weight", *flags)
    functions, _ = check("shop_under_check:Cart.*", *flags)

    assert "shop_under_check:Cart.weight is a cached_property" in ran.stderr
    assert ran.returncode == 2
    assert [name for name, _ in functions["Cart.*"] if name.endswith("weight")] == []


ASSIGNED = """
import functools
from json import dumps

LIMIT = 3
annotated: int
nothing = None
other = dumps
made = functools.partial(dumps, indent=1)
short = lambda cart: cart
try:
    from no_such_module import maybe
except ImportError:
    maybe = None


def total(cart):
    local = 1
    return cart


again = total


class OwnProperty(property):
    def __init__(self, fget):
        super().__init__(fget)


class Cart:
    slot: int
    rows = []

    def save(self, cart=0):
        local = 1
        return cart

    keep = save
    half = functools.partialmethod(save, 1)

    def redone(self):
        return 1

    redone = functools.partialmethod(save, 2)

    def covered(self):
        return 1

    covered = 7

    def gone(self):
        return 1

    del gone
    fixed = staticmethod(total)
    of = classmethod(total)
    size = property(lambda self: 1)
    kept = OwnProperty(lambda self: 1)
    bound = classmethod(functools.partialmethod(save, 1))
    shared = classmethod(property(lambda cls: 1))
    built = staticmethod(OwnProperty)
    length = staticmethod(len)

    def __init_subclass__(cls):
        pass

    class Inner:
        pass
"""
MEASURED = {
    "short": "function",
    "again": "function",
    "other": "function",
    "made": "function",
    "Cart.save": "method",
    "Cart.keep": "method",
    "Cart.fixed": "static function",
    "Cart.of": "class function",
    "Cart.size": "property",
    "Cart.length": "static function in C",
    "Cart.__init_subclass__": "class function",
}
REFUSED = {
    "LIMIT": "a int, which is no function",
    "annotated": "matches nothing",
    "local": "matches nothing",
    "nothing": "a NoneType, which is no function",
    "maybe": "a NoneType, which is no function",
    "Cart": "a class; name its methods",
    "Cart.Inner": "a class; name its methods",
    "Cart.slot": "matches nothing",
    "Cart.local": "matches nothing",
    "Cart.gone": "matches nothing",
    "Cart.rows": "a list, which is no function",
    "Cart.covered": "a int, which is no function",
    "Cart.half": "a partialmethod, which is no function",
    "Cart.redone": "a partialmethod, which is no function",
    "Cart.kept": "a OwnProperty, which is made in a way of its own",
    "Cart.bound": "a classmethod of a partialmethod, which is no function",
    "Cart.shared": "a classmethod of a property, which is no function",
    "Cart.built": "a staticmethod of a class",
    "total.inner": "matches nothing",
}
ONLY_THE_MODULE_KNOWS = {
    *("other", "made", "maybe"),
    *("Cart.kept", "Cart.bound", "Cart.shared", "Cart.built", "Cart.length"),
}
"""What the source alone says nothing of: what a call gives, and what is imported."""


@pytest.fixture
def assigned(tmp_path, monkeypatch):
    """That source as a module that can be imported, once."""
    (tmp_path / "assigned_under_check.py").write_text(ASSIGNED)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "assigned_under_check"
    sys.modules.pop("assigned_under_check", None)


@pytest.mark.parametrize("make", ["timer", "counter", "span", "event"])
@pytest.mark.parametrize("target", [*MEASURED, *REFUSED])
def test_what_is_assigned_is_judged_by_a_check_as_it_is_where_a_patch_is_laid(
    assigned, target, make
):
    (one,) = patches([{"target": f"{assigned}:{target}", "make": make}], "here")
    by_source, by_import = read(one), imported(one, Registry())
    laid = Patching([one], registry=Registry())
    laid.begin()
    there = {f.qualname: f.kind for f in laid.applied}
    because = "".join(because for _, because in laid.failed.values())
    laid.end()

    expected = {target: MEASURED[target]} if target in MEASURED else {}
    assert there == expected
    assert {f.qualname: f.kind for f in by_import.found} == expected
    assert REFUSED.get(target, "") in because
    assert REFUSED.get(target, "") in by_import.fault
    assert (bool(because), bool(by_import.fault)) == (target in REFUSED, target in REFUSED)
    if by_source.found is None:
        assert target in ONLY_THE_MODULE_KNOWS
        assert "--import tells" in by_source.note
    else:
        assert {f.qualname: f.kind for f in by_source.found} == expected
        assert REFUSED.get(target, "") in by_source.fault
        assert bool(by_source.fault) == (target in REFUSED)


def test_a_pattern_takes_of_what_is_assigned_the_same_from_the_source_as_from_the_module(
    assigned,
):
    for pattern in ("*", "Cart.*", "*.*"):
        (one,) = patches([f"{assigned}:{pattern}"], "here")
        by_source, by_import = read(one), imported(one, Registry())
        more = [f for f in by_import.found if f.qualname in ONLY_THE_MODULE_KNOWS]

        assert {f.qualname for f in by_import.found} == {
            *(f.qualname for f in by_source.found),
            *(f.qualname for f in more),
        }
        assert [f.qualname for f in more] == ["Cart.length"] * (
            "Cart" in pattern or "." in pattern
        )


def test_the_nearest_name_is_of_the_part_that_is_not_there(check):
    _, ran = check("shop_under_check:Bas.save", "shop_under_check:*.sve")

    assert "did you mean 'Base'?" in ran.stderr
    assert "did you mean 'save'?" in ran.stderr


@pytest.mark.parametrize("flags", [[], ["--import"]])
def test_of_a_module_that_is_not_there_the_nearest_is_named(check, flags):
    targets = ["shop_undr_check:f", "jsn.encoder:f", "json.encodr:f", "jsn.tol:f", "zzqqzz:f"]
    _, ran = check(*targets, "json.encoder.os:f", *flags)
    said = [line.partition("; did you mean ")[2] for line in ran.stderr.splitlines()]
    slug = "? [patch-matches-nothing]"

    assert said == [
        f"'shop_under_check'{slug}",
        f"'json.encoder'{slug}",
        f"'json.encoder'{slug}",
        f"'json.tool'{slug}" if said[3].startswith("'json.") else f"'json'{slug}",
        "",
        "",
    ]


def test_a_dimension_that_some_functions_cannot_have_is_noted(check, tmp_path):
    (tmp_path / "nilometer.toml").write_text(
        '[[patch]]\ntarget = "shop_under_check:Cart.*"\ndimensions = { who = "owner" }\n'
    )
    _, ran = check("--import")

    assert ran.returncode == 0
    assert ran.stderr == (
        "nilometer.toml:1: shop_under_check:Cart.*: no 'owner', so no dimension 'who', for "
        "Cart.price\n"
    )


def test_the_table_says_what_is_made_under_which_name_and_where_it_was_asked_for(
    nilometer, check, tmp_path
):
    ran = nilometer("patch", "check", "shop_under_check:Base.*=counter", cwd=tmp_path)

    assert [line.split() for line in ran.stdout.splitlines()] == [
        ["target", "function", "kind", "makes", "name", "from"],
        [
            *("shop_under_check:Base.*", "Base.save", "method", "counter"),
            *("shop_under_check.Base.save.calls", "--patch"),
        ],
    ]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def f(:\n", "invalid syntax"),
        ("raise SystemExit(7)", "SystemExit(7)"),
        ("raise RuntimeError('not here')", "RuntimeError('not here')"),
    ],
)
def test_a_module_that_cannot_be_read_or_imported_is_refused_with_the_reason(
    check, tmp_path, source, told
):
    (tmp_path / "broken_shop.py").write_text(source)
    _, ran = check("broken_shop:f", "--import")

    assert ran.returncode == 2
    assert told in ran.stderr


def test_nothing_to_check_is_wrong_usage(nilometer, tmp_path):
    ran = nilometer("patch", "check", cwd=tmp_path)

    assert (ran.returncode, ran.stderr) == (
        2,
        "nilometer: no [[patch]] is set, and no TARGET given: see docs/patching.md\n",
    )


def test_a_file_of_tach_s_is_checked_as_well(check, tmp_path):
    (tmp_path / "tach.conf").write_text(
        "[shop.save]\nmodule = shop_under_check.Base\nmethod = save\nmetric = ExecTime\n"
        "[shop.halt]\nmodule = shop_under_check\nmethod = total\nmetric = statsd_decr\n"
    )
    found, ran = check("--tach", "tach.conf", "--import")

    assert found == {"Base.save": [("Base.save", "method")]}
    assert ran.stderr == "tach.conf:5: shop.halt: counters only go up, not by -1; left out\n"


@pytest.mark.parametrize("importing", [(), ("--import",)], ids=["source", "import"])
@pytest.mark.parametrize(
    ("module", "near"), [("Base", "mean 'save'"), ("Bas", "Base")], ids=["method", "class"]
)
def test_a_class_that_a_file_of_tach_s_names_as_its_module_is_not_called_a_missing_module(
    check, tmp_path, module, near, importing
):
    (tmp_path / "tach.conf").write_text(
        f"[shop.save]\nmodule = shop_under_check.{module}\nmethod = saev\nmetric = ExecTime\n"
    )
    _, ran = check("--tach", "tach.conf", *importing)

    assert ran.returncode == 2
    assert f"shop_under_check:{module}.saev matches nothing" in ran.stderr
    assert near in ran.stderr


def test_a_program_runs_patched_by_a_flag_and_by_a_file_of_tach_s(nilometer, check, tmp_path):
    """Also where the program changes its directory, and in a child that it forks."""
    (tmp_path / "tach.conf").write_text(
        "[shop.save]\nmodule = shop_under_check.Base\nmethod = save\nmetric = ExecTime\n"
        "app_helper = tach_helper\napp = saved\n"
    )
    (tmp_path / "tach_helper.py").write_text(
        "def saved(*args, **words):\n    return args, words, 'save.%s' % args[1]\n"
    )
    (tmp_path / "app.py").write_text(
        "import os, shop_under_check as shop\n"
        "os.chdir('/')\n"
        "shop.total(1)\n"
        "child = os.fork()\n"
        "shop.Base().save('child' if child == 0 else 'parent')\n"
        "child and os.waitpid(child, 0)\n"
    )
    sink = tmp_path / "out.jsonl"
    ran = nilometer(
        *("run", "--tach", "tach.conf", "--patch", "shop_under_check:total=counter"),
        *("--export", f"file://{sink}", "--", "python", "app.py"),
        cwd=tmp_path,
    )
    readings = {
        (one["name"], *(text for _, text in one["dimensions"]))
        for line in sink.read_text().splitlines()
        for one in json.loads(line)["readings"]
        if one["name"].startswith("shop")
    }

    assert ran.returncode == 0, ran.stderr
    assert readings == {
        ("shop_under_check.total.calls",),
        ("shop.save", "save.child"),
        ("shop.save", "save.parent"),
    }
