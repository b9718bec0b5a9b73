"""What a page tells its reader to type exists: commands, their flags, paths of the collector.

Flags are looked for in code only, fenced or between backticks: text may speak of `--` as such.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import pytest

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)

FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9_-]*")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
ENDS = re.compile(r"\s(?:--|\|\|?|&&?|;|#|>)(?=\s)|[)`]|\n|$")
"""What ends the words of one command; what comes after them is another program's."""

FOREIGN: Final = {
    "gh": {"--paginate", "--jq", "--body-file"},
    "gunicorn": {"--preload"},
    "uwsgi": {"--wsgi-file", "--module", "--mount", "--http-socket"},
    "mypy": {"--strict"},
    "stestr": {"--id"},
    "subunit2sql": {"--counters2statsd-host"},
    "os-collect-counters": {"--loglevel"},
    "Django": {"--keepdb"},
    "telegraf": {"--config", "--once"},
    "monasca": {"--name", "--period", "--group_by", "--merge_metrics", "--dimensions"},
    "osprofiler": {"--html"},
    "click": {"--help", "--version"},
}
"""Flags of other programs that the pages speak of."""


class Written(NamedTuple):
    """A command as a page writes it: what it is, and the flags it is given."""

    words: str
    flags: frozenset[str]


@cache
def commands() -> dict[str, click.Command]:
    """Each command of `nilometer` by its words: ``trace show``."""
    found: dict[str, click.Command] = {}

    def visit(words: str, command: click.Command) -> None:
        found[words] = command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                visit(f"{words} {name}".strip(), inner)

    visit("", import_module("nilometer.cli.app").app)
    return found


def flags_of(command: click.Command) -> set[str]:
    """Hidden ones not: nobody is told to type them."""
    told = {
        name
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
        if not getattr(parameter, "hidden", False)
    }
    return told | FOREIGN["click"]


@cache
def flags_of_ours() -> set[str]:
    """Of all commands, of the plugin of pytest and of the benchmark."""
    files = [*(ROOT / "bench").rglob("*.py"), *(ROOT / "src/nilometer").glob("pytest*/*.py")]
    added = {
        flag
        for file in files
        for flag in re.findall(r'"(--nilometer[a-z-]*|--[a-z-]+)"', file.read_text())
    }
    return added.union(*map(flags_of, commands().values()))


def code_of(text: str) -> list[str]:
    """The blocks and the words that are marked as code; lines that go on are one."""
    inline = re.findall(r"`[^`\n]+`", FENCED.sub("", text))
    return [block.replace("\\\n", " ") for block in [*FENCED.findall(text), *inline]]


def words_of(typed: list[str]) -> str:
    """The command that is typed, with the first word at which there is none."""
    words = ""
    for word in typed:
        if not isinstance(commands().get(words), click.Group) or not re.match("[a-z]", word):
            break
        words = f"{words} {word}".strip()
    return words


def commands_in(text: str) -> list[Written]:
    """Each `nilometer WORDS --flags` of the code in a page."""
    found = []
    for block in code_of(text):
        for match in re.finditer(r"(?:^|[`$(|&] ?|: )nilometer +(?=[a-z-])", block, re.M):
            end = ENDS.search(block, match.end())
            typed = block[match.end() : end.start() if end else None]
            found.append(Written(words_of(typed.split()), frozenset(FLAG.findall(typed))))
    return found


@each_page
def test_every_command_that_a_page_tells_to_type_exists_with_its_flags(page: Path) -> None:
    invented = [
        f"nilometer {one.words} {flag}".strip()
        for one in commands_in(page.read_text())
        for flag in (one.flags if one.words in commands() else {"(no such command)"})
        if one.words not in commands() or flag not in flags_of(commands()[one.words])
    ]

    assert invented == []


@each_page
def test_every_flag_that_a_page_speaks_of_exists(page: Path) -> None:
    known = flags_of_ours().union(*FOREIGN.values())
    named = {flag for block in code_of(page.read_text()) for flag in FLAG.findall(block)}

    assert named - known == set()


def test_the_pages_are_really_looked_at() -> None:
    """A pattern that finds nothing would hold everything."""
    bogus = (
        "`nilometer serve --bogus-flag`\n\n```sh\n$ nilometer trce list\n"
        "curl $(nilometer trace new --key-file k --crul) x\n"
        "nilometer run --bogus -- gunicorn --preload\n"
        "nilometer trace show \\\n  ID --fromat dot | nilometer metrics tpo\n```\n"
    )

    assert commands_in(bogus) == [
        Written("trce", frozenset()),
        Written("trace new", frozenset({"--key-file", "--crul"})),
        Written("run", frozenset({"--bogus"})),
        Written("trace show", frozenset({"--fromat"})),
        Written("metrics tpo", frozenset()),
        Written("serve", frozenset({"--bogus-flag"})),
    ]
    written = [one for page in PAGES for one in commands_in(page.read_text())]
    assert len(written) > 60
    assert {"serve", "run", "measure", "gate check"} <= {one.words for one in written}


def sections() -> dict[str, str]:
    """docs/cli.md by its headings, which are the commands."""
    text = (ROOT / "docs" / "cli.md").read_text()
    parts = re.split(r"^#+ `?nilometer ?([a-z -]*?)`?$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_section_of_the_reference_is_a_command_and_lists_its_flags_and_no_others() -> (
    None
):
    told = {
        words: set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", section, flags=re.MULTILINE))
        for words, section in sections().items()
    }

    assert {w: f for w, f in told.items() if w not in commands()} == {}
    assert sum(map(len, told.values())) > 60
    assert {
        w: f - flags_of(commands()[w]) for w, f in told.items() if f - flags_of(commands()[w])
    } == {}


# --- Paths -----------------------------------------------------------------------------------

API = "/api/v1"


@cache
def operations() -> dict[str, dict[str, Any]]:
    """What can be asked, by path without the prefix, as the OpenAPI document says."""
    native = import_module("nilometer.api.native")
    nothing: Any = None
    paths = native.api(nothing, nothing, dict).openapi()["paths"]
    return {path.removeprefix(API): told["get"] for path, told in paths.items()}


def rows() -> dict[str, str]:
    """The table of docs/rest.md: path, with its variables as OpenAPI writes them; what."""
    text = (ROOT / "docs" / "rest.md").read_text()
    found = re.findall(r"^\| `(/[^`]*)` \| (.*) \|$", text, flags=re.MULTILINE)
    return {pattern_of(path): what for path, what in found}


def pattern_of(path: str) -> str:
    """``/traces/ID`` as ``/traces/{}``."""
    return re.sub(r"/(?:[A-Z]+|\{[^/]*\})(?=/|$)", "/{}", path)


def test_the_table_of_paths_is_what_can_be_asked_with_all_its_parameters() -> None:
    asked = {pattern_of(path): told for path, told in operations().items()}

    assert set(rows()) == set(asked)
    for path, what in rows().items():
        parameters = asked[path].get("parameters", [])
        names = {one["name"] for one in parameters if one["in"] == "query"}
        choices = set(re.findall(r"'([a-z]+)'", str(parameters)))
        told = set(re.findall(r"`([a-z_]+)`", what))
        assert names <= told, path
        assert told - names <= choices, path


def test_every_path_that_a_page_names_can_be_asked() -> None:
    senders = import_module("nilometer.collect.otlp").SIGNALS
    known = {f"/v1/{signal.name}" for signal in senders} | {f"{API}/openapi.json", API}
    known.add(import_module("nilometer.collect.points_door").PATH)
    patterns = [re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(API + path)) for path in operations()]
    named = {
        path.rstrip("/.")
        for page in PAGES
        for path in re.findall(r"(?:/api)?/v1(?:/[\w.{}/-]*)?", page.read_text())
    }

    assert len(named) > 5
    unknown = named - known
    assert {p for p in unknown if not any(re.fullmatch(one, p) for one in patterns)} == set()
