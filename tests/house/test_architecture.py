"""The rules of the house, checked like any other behaviour.

Each rule says why. To break one, change the table in the same commit and say there why.
"""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "src" / "nilometer"


def module_name(path: Path) -> str:
    """``measure.pure``; a package is called like its folder, ours like nothing."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def shown(path: Path) -> str:
    return module_name(path) or "nilometer"


SOURCES = sorted(PACKAGE.rglob("*.py"))
NAMES = {module_name(path) for path in SOURCES}
TREES = {path: ast.parse(path.read_text()) for path in SOURCES}
each_module = pytest.mark.parametrize("path", SOURCES, ids=shown)

# --- Who may import whom ---------------------------------------------------------------------

# Anyone may import these, and they import nothing of ours.
LEAVES = {"errors", "clock", "stacks", "twin"}

# Folder -> folders it may import. Data flows one way; docs/architecture.md draws it.
FOLDERS: dict[str, set[str]] = {
    "model": set(),
    "measure": {"model"},
    "trace": {"model", "measure"},
    "integrations": {"model", "measure", "trace"},
    "wire": {"model"},
    # A service's own configuration and pipelines: from there to a running system.
    "openstack": {"model", "measure", "trace", "integrations", "assembly", "setting_table"},
    "export": {"model", "wire"},
    "counters": {"model", "wire"},
    "gate": {"model"},
    "store": {"model"},
    "pytest_plugin": {"model", "measure", "integrations", "counters", "config"},
    "collect": {"model", "wire", "store"},
    "api": {"model", "wire", "store", "gate", "trace"},
    # A page asks what REST asks: the same queries, parameters and refusals.
    "web": {"model", "wire", "store", "gate", "trace", "api"},
    # Logs and reports are read as the wire has them, and asked like tables.
    "analyze": {"model", "store", "wire"},
}
ANYTHING = {name.partition(".")[0] for name in NAMES}

# Modules that need more, or less, than their folder says; those at the root of the package
# have no folder. What is listed may be a folder or one module.
MODULES: dict[str, set[str]] = {
    # What every service imports. The last two it loads only when it is configured; what
    # `import nilometer` really loads is tested, too.
    "": {"model", "measure", "trace", "assembly", "config"},
    "assembly": ANYTHING,
    # Opens each exporter once, so that a wrong URL is told with all other wrong settings.
    "config": {
        *("model", "export"),
        *("setting_admin", "setting_sources", "setting_table", "setting_tach"),
        "setting_values",
    },
    "setting_sources": {"setting_table", "setting_values"},
    "setting_table": {"setting_values"},
    # The last three are loaded by those who use them, only.
    "setting_values": {"model", "setting_admin", "setting_patches", "setting_tach"},
    "setting_admin": {"model", "setting_values", "wire"},
    "setting_patches": {"model", "setting_values"},
    "setting_tach": {"model"},
    # Parts of `assembly`: what Nilometer measures of itself, the values that outlive it, what
    # it answers for it, which integrations it installs, and whose forks it watches.
    "own": {"measure", "export"},
    "keeper": {"config", "export", "measure", "model"},
    "admin": {"config", "export", "measure", "model", "setting_admin", "wire"},
    "integrations_choice": {"integrations", "trace"},
    "uwsgi_forks": {"export", "integrations"},
    "doctor": ANYTHING,
    "testing": {"model", "measure", "trace"},
    # Another library's API: its clients name where they send to when they are made.
    "monasca": {"assembly", "measure"},
    # OSProfiler's points need no pump: its driver and Ceilometer's agent send them on as they
    # are, with what exporters know of tokens.
    "integrations.osprofiler.driver": FOLDERS["integrations"] | {"export.points"},
    "openstack.ceilometer": {"export.points"},
    "__main__": {"cli"},
    # Loaded by subunit2sql: from an attachment to an exporter.
    "subunit2sql_plugin": {"counters", "export", "wire", "model"},
    # The collector measures itself, as any service would.
    "collect.instruments": FOLDERS["collect"] | {"", "measure"},
    # The daemon puts its own parts together, the exporters and the pump among them.
    "collect.daemon": FOLDERS["collect"] | {"assembly", "config", "api", "web"},
}
# They are started, or start others, and say `import nilometer` as services do.
PROGRAMS = {"cli", "bootstrap", "collect.instruments", "collect.daemon"}
# Nobody imports these but who is listed: they know every concrete class, and whoever knew
# them would, too.
ONLY_FROM = {
    "assembly": {
        *("", "cli", "collect.daemon", "bootstrap", "doctor", "testing", "openstack"),
        "monasca",
    },
    "doctor": {"cli"},
    "testing": set[str](),
    "cli": {"__main__"},
}


# What imports a module that it is told by a text.
BY_TEXT = {"import_module", "importlib.import_module", "__import__", "choose", "twin.choose"}


def imports_of(path: Path, *, lazy: bool = True) -> set[str]:
    """The modules of ours that this one imports, inside functions too if `lazy`."""
    found: set[str] = set()
    for node in ast.walk(TREES[path]) if lazy else _at_import(TREES[path]):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: say `from nilometer...` in full"
            module = node.module or ""
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                found.add(inner if inner.removeprefix("nilometer.") in NAMES else module)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in BY_TEXT:
            texts = (a.value for a in node.args if isinstance(a, ast.Constant))
            found |= {text for text in texts if isinstance(text, str)}
    ours = {n.removeprefix("nilometer").lstrip(".") for n in found if _is_ours(n)}
    return ours & NAMES - {module_name(path)}


def _is_ours(name: str) -> bool:
    return name == "nilometer" or name.startswith("nilometer.")


def _at_import(tree: ast.AST) -> list[ast.AST]:
    """All nodes but those in functions: what runs when the module is imported."""
    found: list[ast.AST] = []
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found += [node, *_at_import(node)]
    return found


def covers(allowed: set[str], name: str) -> bool:
    """Whether the module, or a folder that it lies in, is among those allowed."""
    parts = name.split(".")
    return any(".".join(parts[: i + 1]) in allowed for i in range(len(parts)))


@each_module
def test_imports_point_only_where_the_table_allows(path: Path) -> None:
    name = module_name(path)
    folder = name.partition(".")[0]
    if name in LEAVES:
        allowed = LEAVES
    elif folder in {"cli", "bootstrap"}:
        allowed = ANYTHING
    else:
        assert name in MODULES or folder in FOLDERS, f"{name} is in no table of this file"
        allowed = MODULES.get(name, FOLDERS.get(folder, set())) | LEAVES | {folder}

    strays = {other for other in imports_of(path) if not covers(allowed, other)}

    assert strays == set(), f"{name} may import only {sorted(allowed)}"


@each_module
def test_only_those_who_start_things_know_those_who_know_everything(path: Path) -> None:
    name = module_name(path)

    strays = {
        guarded
        for other in imports_of(path)
        if (guarded := other.partition(".")[0]) in ONLY_FROM
        and name.partition(".")[0] != guarded
        and not covers(ONLY_FROM[guarded], name)
    }

    assert strays == set()


def test_only_services_use_nilometer_as_services_do() -> None:
    """For all else `import nilometer` would be a circle; programs of ours are services too."""
    users = {shown(p) for p in SOURCES if "" in imports_of(p)}

    assert {user for user in users if not covers(PROGRAMS, user)} == set()


def test_there_is_an_order_in_which_to_read_the_modules() -> None:
    """Also those imported for their types only; not those imported in functions, when run."""
    graph = {module_name(p): imports_of(p, lazy=False) for p in SOURCES}

    reading_order = list(TopologicalSorter(graph).static_order())  # raises CycleError

    assert set(reading_order) == NAMES


def test_the_tables_name_only_what_exists_or_is_planned() -> None:
    """`analyze` is in the design and comes later."""
    planned = {"analyze"}

    assert {f for f in FOLDERS if not (PACKAGE / f).is_dir()} <= planned


# --- Names -----------------------------------------------------------------------------------

# They say where code was put, not what it does.
EMPTY_NAMES = {
    *("utils", "util", "common", "helpers", "helper", "misc", "base", "core", "manager"),
    *("lib", "shared", "stuff", "tools", "various", "constants", "types", "impl"),
}


@each_module
def test_the_name_says_what_is_inside(path: Path) -> None:
    assert not EMPTY_NAMES & set(module_name(path).split("."))


def test_the_c_files_are_called_like_their_package_or_what_they_encode() -> None:
    """`_core.c` is the one exception: the hot half of a package, said in its first comment."""
    names = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.c")}

    assert {name for name in names if not name.split("/")[-1].startswith("_")} == set()


# --- What a module says of itself ------------------------------------------------------------


@each_module
def test_the_module_says_what_it_is_for(path: Path) -> None:
    doc = ast.get_docstring(TREES[path]) or ""

    assert len(doc) > len("Nilometer."), "start the module with one sentence"
    assert " " in doc.splitlines()[0], "one sentence, not a word"
    assert len(doc.splitlines()[0]) <= 100


@each_module
def test_everything_public_says_what_it_is(path: Path) -> None:
    """Classes, functions and methods without an underscore; not those inside functions."""
    silent = [f"{path.name}:{node.lineno}: {node.name}" for node in _public(TREES[path])]

    assert silent == [], "a sentence: the meaning, the unit, what it raises"


def _public(tree: ast.Module | ast.ClassDef) -> list[ast.FunctionDef | ast.ClassDef]:
    """Those without a docstring, except one-line protocol methods and overloads."""
    found = []
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if node.name.startswith("_") or _is_explained_elsewhere(node):
            continue
        if not ast.get_docstring(node):
            found.append(node)
        if isinstance(node, ast.ClassDef) and not _overrides(node):
            found += _public(node)
    return found


def _overrides(node: ast.ClassDef) -> bool:
    """Whether its methods may stand for those of another class, which says what they do."""
    ours = {"NamedTuple", "Protocol", "Generic", "Enum", "IntEnum", "TypedDict"}
    return any(ast.unparse(base).partition("[")[0] not in ours for base in node.bases)


def _is_explained_elsewhere(node: ast.AST) -> bool:
    """Setters say it at the property, overloads and overrides at what they stand for."""
    names = {ast.unparse(d).rpartition(".")[2] for d in getattr(node, "decorator_list", [])}
    return bool(names & {"overload", "setter", "override"})


# --- Nothing grows past the eye --------------------------------------------------------------

# A ratchet, after TigerBeetle: nothing may grow past the limit; what is already longer is
# listed here by name, with the reason, and the lists may only shrink.
FUNCTION_LINES_MAX = 50
MODULE_LINES_MAX = 400
C_LINES_MAX = 1200  # a C file says in five lines what its Python twin says in two or three
LONGER_FUNCTIONS: dict[str, int] = {}
LONGER_MODULES: dict[str, int] = {}
LONGER_C_FILES: dict[str, int] = {}


@each_module
def test_nothing_grows_past_the_eye(path: Path) -> None:
    limit = LONGER_MODULES.get(module_name(path), MODULE_LINES_MAX)
    long = [
        f"{path.name}:{node.lineno}: {node.name} has {lines} lines"
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (lines := (node.end_lineno or 0) - node.lineno + 1)
        > LONGER_FUNCTIONS.get(f"{module_name(path)}.{node.name}", FUNCTION_LINES_MAX)
    ]

    length = path.read_text().count("\n")

    assert long == []
    assert length <= limit


def test_no_c_file_grows_past_reading() -> None:
    for path in sorted({*PACKAGE.rglob("*.c"), *PACKAGE.rglob("*.h")}):
        lines = path.read_text().splitlines()

        assert lines[0].startswith("/*"), f"{path}: say first what the file is for"
        name = path.relative_to(PACKAGE).as_posix()
        assert len(lines) <= LONGER_C_FILES.get(name, C_LINES_MAX), name
        wide = [i for i, line in enumerate(lines, 1) if len(line) > 100 or "\t" in line]
        assert wide == [], f"{path}: these lines are wider than 100 or have tabs"


# --- What is not called ----------------------------------------------------------------------

# What is banned, and what to use instead.
BANNED_CALLS = {
    "time.time": "clock.wall_ns(): whole nanoseconds, and durations come from elapsed_ns()",
    "time.perf_counter": "clock.elapsed_ns(): whole nanoseconds",
    "datetime.now": "clock.wall_ns(), so that tests can bring their own time",
    "datetime.utcnow": "clock.wall_ns(): utcnow() has no zone",
    "print": "cli/ is the only package that prints",
    "eval": "a parser for what is meant",
    "exec": "a function",
    "pickle.loads": "wire/: bytes from elsewhere must not run here",
    "os.system": "subprocess with a list",
    "uuid.uuid4": "the ids of trace/, seeded by the kernel and after fork: twenty times faster",
    "logging.basicConfig": "nothing: the application configures logging, we never do",
    "signal.signal": "nothing in a service; the daemon asks its event loop",
}
# The same by other clocks: one is enough.
BANNED_CALLS |= dict.fromkeys(
    ["time.monotonic", "time.monotonic_ns", "time.time_ns"], "clock: wall_ns() or elapsed_ns()"
)
# On the hot path a generator costs five times a class with __enter__ and __exit__.
BANNED_IN = {
    "contextlib.contextmanager": ("measure", "trace"),
    "contextlib.asynccontextmanager": ("measure", "trace"),
}
EXEMPT = {
    "time.monotonic": {"cli"},  # it waits for the processes that it started
    # Names of files, once a commit or a start: those of other processes must differ.
    "uuid.uuid4": {"store.reading", "store.stored"},
    "print": {"cli"},
    # Programs of their own; and a child that a signal would end with its last readings unsent,
    # where nobody handles that signal. It dies of it all the same.
    "signal.signal": {"cli", "collect.daemon", "integrations.monasca_ending"},
    "logging.basicConfig": {"collect.daemon"},
    # A wrapper compiled for its function's own parameters costs a third of one with *args; what
    # is compiled holds nothing but their names. At rest, what stands for a wrapper's code has
    # to hold the very names that the wrapper's own does.
    "exec": {"measure.timed", "trace.wrap_pure", "integrations.patching.resting"},
}


def names_in(tree: ast.AST) -> Callable[[ast.expr], str]:
    """What an expression is called in full, however it was imported: ``time.time``."""
    full: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            full |= {a.asname: a.name for a in node.names if a.asname}
        elif isinstance(node, ast.ImportFrom):
            full |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}

    def named(expression: ast.expr) -> str:
        first, dot, rest = ast.unparse(expression).partition(".")
        return full.get(first, first) + dot + rest

    return named


@each_module
def test_banned_calls_are_not_made(path: Path) -> None:
    module = module_name(path)
    named = names_in(TREES[path])
    found = [
        f"{path.name}:{node.lineno}: {name}: use {BANNED_CALLS[name]}"
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.Call)
        if (name := named(node.func)) in BANNED_CALLS
        if not covers(EXEMPT.get(name, set()), module)
    ]

    assert found == []


@each_module
def test_the_hot_path_makes_no_generators_for_with(path: Path) -> None:
    folder = module_name(path).partition(".")[0]
    named = names_in(TREES[path])
    found = [
        f"{path.name}:{node.lineno}: {node.name}: write __enter__ and __exit__"
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if any(folder in BANNED_IN.get(named(d), ()) for d in node.decorator_list)
    ]

    assert found == []


@each_module
def test_no_fault_is_swallowed_without_a_word(path: Path) -> None:
    """`except ...: pass` needs a comment in its lines that says why nothing is to be done.

    So does a ``suppress`` of everything.
    """
    lines = path.read_text().splitlines()
    silent = [
        f"{path.name}:{node.lineno}"
        for node in ast.walk(TREES[path])
        if _swallows(node)
        if not any("#" in line for line in lines[node.lineno - 1 : node.end_lineno])
    ]

    assert silent == []


def _swallows(node: ast.AST) -> TypeGuard[ast.ExceptHandler | ast.Call]:
    if isinstance(node, ast.ExceptHandler):
        return all(ast.unparse(s) in {"pass", "..."} for s in node.body)
    return (
        isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith("suppress")
        and any(ast.unparse(a) in {"Exception", "BaseException"} for a in node.args)
    )


@each_module
def test_an_error_has_a_class_of_its_own(path: Path) -> None:
    """`errors.py` has ours; an Exception can only be caught together with all others."""
    found = [
        f"{path.name}:{node.lineno}: {ast.unparse(node.exc)}"
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.Raise) and node.exc is not None
        if ast.unparse(node.exc).partition("(")[0] in {"Exception", "BaseException"}
    ]

    assert found == []
