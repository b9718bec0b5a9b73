"""What the docs say is what the program does: nothing undocumented, nothing invented.

Where a part of the program is not there yet its check has nothing to compare and passes; from
the moment it is there, everything of it must be documented.
"""

from __future__ import annotations

import ast
import re
import runpy
import subprocess
import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PACKAGE = ROOT / "src" / "nilometer"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@cache
def text_of(page: Path) -> str:
    return page.read_text() if page.exists() else ""


@cache
def trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


def all_docs() -> str:
    return "\n".join(text_of(page) for page in PAGES)


def strings_in(*folders: str) -> Iterator[str]:
    """Every string of the source that is not a docstring, f-strings in pieces."""
    for path, tree in trees().items():
        if folders and path.relative_to(PACKAGE).parts[0] not in folders:
            continue
        docs = {id(s.value) for s in ast.walk(tree) if isinstance(s, ast.Expr)}
        for node in ast.walk(tree):
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
            if is_text and id(node) not in docs:
                yield node.value


# --- Errors ----------------------------------------------------------------------------------


def slugs_in_source() -> set[str]:
    """What stands after ``slug=``, ``reason=`` in a WireError, or at the end of a text."""
    found = set()
    for tree in trees().values():
        constants = {
            target.id: node.value.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call)):
            prefix = "wire-" if ast.unparse(call.func).endswith("WireError") else ""
            wanted = "reason" if prefix else "slug"
            for keyword in call.keywords:
                if keyword.arg == wanted:
                    value = keyword.value
                    if isinstance(value, ast.Name):
                        found.add(f"{prefix}{constants.get(value.id, '')}")
                    elif isinstance(value, ast.Constant):
                        found.add(f"{prefix}{value.value}")
    said = (re.search(r"\[([a-z]+(?:-[a-z]+)+)\]$", text) for text in strings_in())
    return (found | {match[1] for match in said if match}) - {"", "wire-"}


def messages() -> dict[str, str]:
    """The headings of docs/messages.md that are slugs, each with its paragraph."""
    parts = re.split(r"^## ([a-z0-9-]+)$", text_of(DOCS / "messages.md"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_error_is_explained() -> None:
    assert sorted(slugs_in_source() - set(messages())) == []


def test_every_explained_error_can_happen() -> None:
    known = set(strings_in()) | slugs_in_source()
    invented = {
        slug
        for slug in messages()
        if slug not in known and slug.removeprefix("wire-") not in known
    }

    assert invented == set()


def test_every_explanation_says_what_to_do() -> None:
    """One line only repeats the message."""
    assert [slug for slug, said in messages().items() if len(said.split()) < 15] == []


# --- Settings, flags, schemes ----------------------------------------------------------------

VARIABLE = re.compile(r"\bNILOMETER_[A-Z][A-Z_]*[A-Z]\b")
# Read by what builds and tests us, not by the installed package.
BUILD_FILES = ("setup.py", "noxfile.py", "Makefile", "scripts", "tests/conftest.py", "bench")


def variables_read() -> set[str]:
    return {name for text in strings_in() for name in VARIABLE.findall(text)}


def test_every_environment_variable_is_documented() -> None:
    assert sorted(variables_read() - set(VARIABLE.findall(all_docs()))) == []


def test_every_documented_environment_variable_is_read() -> None:
    paths = [ROOT / name for name in BUILD_FILES]
    files = [f for p in paths for f in ([p] if p.is_file() else p.rglob("*")) if f.is_file()]
    built = {
        n for f in files for n in VARIABLE.findall(f.read_bytes().decode(errors="replace"))
    }
    # A setting's variable may be put together from its name.
    settings = {f"NILOMETER_{name.upper()}" for name in setting_names()}
    documented = set(VARIABLE.findall(all_docs()))

    assert sorted(documented - built - variables_read() - settings) == []


def setting_names() -> set[str]:
    """The fields of every ``...Settings`` class."""
    return {
        statement.target.id
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.name.endswith("Settings")
        for statement in node.body
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
        if not statement.target.id.startswith("_")
    }


def test_every_setting_is_documented() -> None:
    settings = text_of(DOCS / "settings.md")
    names = setting_names()

    assert sorted(n for n in names if not re.search(rf"\b{n}\b", settings)) == []


def exporter_schemes() -> set[str]:
    if find_spec("nilometer.export.exporter") is None:
        return set()
    return set(getattr(import_module("nilometer.export.exporter"), "SCHEMES", ()))


def test_every_exporter_is_documented_and_every_documented_one_exists() -> None:
    page = text_of(DOCS / "exporters.md")
    documented = set(re.findall(r"^#+ .*?`([a-z+-]+)://", page, flags=re.MULTILINE))

    assert documented == exporter_schemes()


# --- The command line ------------------------------------------------------------------------


def commands() -> dict[str, Any]:
    """Each command of ``nilometer`` by its words: "trace show"."""
    if find_spec("nilometer.cli.app") is None:
        return {}
    import click

    found: dict[str, Any] = {}

    def visit(words: str, command: click.Command) -> None:
        found[words] = command
        if isinstance(command, click.Group):
            for name in command.list_commands(click.Context(command)):
                inner = command.get_command(click.Context(command), name)
                assert inner is not None
                visit(f"{words} {name}".strip(), inner)

    visit("", import_module("nilometer.cli.app").app)
    return found


def cli_sections() -> dict[str, str]:
    """docs/cli.md by heading: ``## nilometer trace show``, code marks or not."""
    pattern = r"^#+ `?nilometer ?([a-z -]*?)`?$"
    parts = re.split(pattern, text_of(DOCS / "cli.md"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def flags_of(command: Any) -> set[str]:
    return {
        name
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
        if name.startswith("--") and not getattr(parameter, "hidden", False)
    }


def test_every_command_and_flag_is_documented() -> None:
    sections = cli_sections()
    leaves = {words: c for words, c in commands().items() if not hasattr(c, "commands")}
    missing = [words for words in leaves if words not in sections]
    missing += [
        f"{words} {flag}"
        for words, command in leaves.items()
        for flag in sorted(flags_of(command))
        if not re.search(rf"{flag}\b", sections.get(words, ""))
    ]

    assert missing == []


def test_every_command_says_what_it_does() -> None:
    assert [words for words, command in commands().items() if not command.help and words] == []


# --- Pages made from the source ---------------------------------------------------------------


def costs(page: str) -> dict[str, list[str]]:
    """The rows of a page's table of costs: the case, then ours in C and in Python."""
    table = text_of(DOCS / page).partition("| ns per call | C | pure |")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.split("|")] for line in table.splitlines()[2:]]
    return {row[1]: row[2:4] for row in rows}


def test_the_costs_that_are_told_are_those_of_the_run_that_is_shown() -> None:
    told, measured = costs("measuring.md"), costs("performance.md")

    assert len(told) >= 6
    assert told == {case: measured[case] for case in told}


def test_what_an_instrument_says_is_one_sentence_and_the_same_in_every_place() -> None:
    scripts = runpy.run_path(str(ROOT / "scripts" / "instruments.py"))
    said: dict[str, set[str]] = {}
    for one in scripts["made"]():
        said.setdefault(one.name, set()).update([one.description] if one.description else [])

    assert len(said) > 30
    assert {name: told for name, told in said.items() if len(told) != 1} == {}
    texts = {text for told in said.values() for text in told}
    assert [text for text in texts if not re.fullmatch(r"[A-Z].*[^.]\.", text)] == []


def test_the_page_of_instruments_is_what_the_source_makes() -> None:
    made = subprocess.check_output([sys.executable, ROOT / "scripts" / "instruments.py"])

    assert text_of(DOCS / "instruments.md") == made.decode(), "run `make docs`"


# --- The pages themselves --------------------------------------------------------------------


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*?## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


@each_page
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"(?:`|^|\n)make ([a-z-]+)", text_of(page)))

    assert named - targets() == set()


def anchors_of(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.*)$", text_of(page), flags=re.MULTILINE)
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {word.replace(" ", "-") for word in words}


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        path, _, anchor = link.partition("#")
        if "://" in path:
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)

    assert broken == []


@each_page
def test_every_example_in_python_is_python(page: Path) -> None:
    for block in re.findall(r"^```python\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL):
        ast.parse(block)


def test_the_example_in_the_readme_runs(tmp_path: Path) -> None:
    """And its readings and its event go out: to a file here, to a collector there."""
    (block,) = re.findall(r"^```python\n(.*?)^```", text_of(ROOT / "README.md"), re.M | re.S)
    example = tmp_path / "example.py"
    example.write_text(block.replace("otlp://127.0.0.1:4318", f"file://{tmp_path}/out.jsonl"))

    subprocess.run([sys.executable, example], cwd=tmp_path, check=True, timeout=60)

    sent = (tmp_path / "out.jsonl").read_text()
    names = ("api.requests", "instance.boot", "db.pool.used", "vm.scheduled", "compute", "r1")
    assert [name for name in names if f'"{name}"' not in sent] == []


def test_every_page_is_reached_from_the_readme() -> None:
    """A page nobody links to is read by nobody."""
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in re.findall(r"\]\(([^)\s#][^)\s]*)\)", text_of(page))
    }

    assert [p.name for p in DOCS.rglob("*.md") if p.resolve() not in linked] == []


def test_the_import_table_in_the_docs_is_the_one_that_is_tested() -> None:
    """docs/architecture.md has a row per folder: ``| `wire` | model |``."""
    tested = import_table()
    rows = re.findall(
        r"^\| `([a-z_]+)/` \| ([^|]*) \|", text_of(DOCS / "architecture.md"), re.MULTILINE
    )
    said = {
        folder: set() if allowed.strip() == "nothing" else set(allowed.strip().split(", "))
        for folder, allowed in rows
    }

    assert said == {folder: tested[folder] for folder in said}
    assert {f for f in tested if (PACKAGE / f).is_dir()} <= set(said)


def import_table() -> dict[str, set[str]]:
    """FOLDERS of test_architecture.py, read and not imported: test files import no others."""
    tree = ast.parse((Path(__file__).parent / "test_architecture.py").read_text())
    node = next(
        n.value
        for n in tree.body
        if isinstance(n, ast.AnnAssign) and ast.unparse(n.target) == "FOLDERS"
    )
    assert node is not None
    text = ast.unparse(node).replace("set()", "()")
    return {folder: set(allowed) for folder, allowed in ast.literal_eval(text).items()}
