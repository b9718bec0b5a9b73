"""`nilometer analyze`: questions at scale, over stores of tables and over logs."""

from __future__ import annotations

from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

from nilometer.cli.commands import InOrder, OneOf
from nilometer.cli.exits import Exit
from nilometer.cli.terminal import Patience, say, stop
from nilometer.errors import ConfigError, NilometerError, to_install

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nilometer.analyze.engine import Engine
    from nilometer.analyze.question import Parameter, Question
    from nilometer.cli.analyze_shown import Shown

FORMATS: Final = ("table", "json", "csv", "parquet", "html")
LIMIT: Final = 100
SKIPPED: Final = {
    "torn": "torn",
    "other": "of no metric",
    "refused": "refused",
}
NEEDED: Final = ("pyarrow", "duckdb", "deltalake", "google", "opentelemetry", "numpy")
"""Packages of the extra; another one that is missing is a fault of ours."""


class Questions(InOrder):
    """Has a command for each question; what they need is imported when one is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The questions, in their order."""
        return list(_questions())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command that asks that question."""
        question = _questions().get(cmd_name)
        return None if question is None else _command(question)


@click.group(cls=Questions)
def analyze() -> None:
    """Ask what is normal and what is not, over whole stores of tables or over logs.

    A store is what `nilometer serve --store` was given, also while that goes on; its tables are
    read where they lie. Everything else is a file: a log with METRIC lines, batches or OTLP as
    JSON, a report of OSProfiler's, each as it is or packed by gzip.

    \b
    Examples:
      nilometer analyze slowest --over nilometer-store --since 24h
      nilometer analyze baseline --over /var/log/shop/*.log.gz --format csv --output hours.csv
      nilometer analyze n-plus-one --over s3://metrics/nilometer --service 'shop-*'
      nilometer analyze slowest --over /shared/store --engine spark://cluster:7077
    """


def _questions() -> dict[str, Question]:
    with _installed():
        from nilometer.analyze.questions import QUESTIONS
    return QUESTIONS


@contextmanager
def _installed() -> Iterator[None]:
    """End with what to install where a package of the extra is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in NEEDED:
            raise
        stop(f"questions need {package}: {to_install('analyze')}", Exit.USAGE)


def _command(question: Question) -> click.Command:
    return click.Command(
        question.name,
        params=[*_asking(), *map(_own, question.parameters), *_answering()],
        callback=partial(_answer, question),
        help=f"{question.summary}\n\n\b\nExample:\n  nilometer analyze {question.name} "
        "--over nilometer-store --since 24h",
        short_help=question.summary,
    )


def _asking() -> list[click.Parameter]:
    """What every question can be told."""
    return [
        click.Option(
            ["--over"],
            multiple=True,
            required=True,
            metavar="PATH|URL",
            help="A store of tables, or a file of a log, or a directory of such; repeatable.",
        ),
        click.Option(
            ["--since"],
            metavar="TIME",
            help="15m, 2h, or an ISO 8601 time; from the beginning if left out.",
        ),
        click.Option(
            ["--until"], metavar="TIME", help="The end of the time; till now if left out."
        ),
        click.Option(
            ["--service"],
            default="*",
            show_default=True,
            metavar="GLOB",
            help="Only these: * is anything, ? any character.",
        ),
    ]


def _own(parameter: Parameter) -> click.Option:
    metavar = {"text": "TEXT", "whole": "N", "number": "X", "duration": "TIME"}
    shown = "|".join(parameter.choices) or metavar.get(parameter.kind, parameter.kind.upper())
    return click.Option(
        [f"--{parameter.name}", f"own_{parameter.key}"],
        default=parameter.default,
        show_default=parameter.default is not None,
        metavar=shown,
        help=parameter.meaning,
    )


def _answering() -> list[click.Parameter]:
    """How it is answered."""
    return [
        click.Option(
            ["--limit"],
            type=click.IntRange(1),
            default=LIMIT,
            show_default=True,
            help="At most so many rows, the first ones.",
        ),
        click.Option(
            ["--engine"],
            default="local",
            show_default=True,
            metavar="local|URL",
            help="Who answers: DuckDB in this process, or Spark at spark://HOST:PORT or "
            "sc://HOST:PORT.",
        ),
        click.Option(
            ["--format", "form"],
            type=OneOf(FORMATS),
            help="As --output ends, or a table if left out.",
        ),
        click.Option(["--json", "as_json"], is_flag=True, help="As --format json."),
        click.Option(
            ["--output"],
            metavar="FILE",
            help="There, once it is whole; to standard output if left out.",
        ),
    ]


def _answer(question: Question, /, **given: Any) -> None:
    with _installed():
        from nilometer.cli.analyze_shown import deliver, form_of

        try:
            form = form_of("json" if given["as_json"] else given["form"], given["output"])
            shown = _asked(question, given)
        except ConfigError as error:
            stop(str(error), Exit.USAGE)
        except NilometerError as error:
            away = error.slug == "engine-unreachable"
            stop(str(error), Exit.UNREACHABLE if away else Exit.REFUSED)
    deliver(shown, form, given["output"])
    _tell_rest(shown)
    if form == "table" and not shown.total:
        stop("nothing of that; look further back with --since", Exit.NOT_FOUND)


def _asked(question: Question, given: Mapping[str, Any]) -> Shown:
    from nilometer.analyze import asking, sources
    from nilometer.cli.analyze_shown import Shown

    since_ns, until_ns = (_moment(f"--{end}", given[end]) for end in ("since", "until"))
    own = {one.name: given[f"own_{one.key}"] for one in question.parameters}
    wanted = asking.Wanted(since_ns, until_ns, given["service"])
    asked = asking.asked_of(question, wanted, own)
    with (
        Patience(f"asking {question.name}") as told,
        closing(engine_of(given["engine"])) as engine,
        sources.opened(given["over"], told.tell) as opened,
    ):
        answer = asking.ask(question, opened, engine, asked, told.tell)
        skipped = sources.skipped(opened)
    told_of = {name: given[name] for name in ("over", "since", "until", "service")}
    first = answer.slice(0, given["limit"])
    return Shown(question, told_of | own, first, answer.num_rows, skipped)


def _tell_rest(shown: Shown) -> None:
    """What the answer itself does not show."""
    if shown.skipped:
        parts = (f"{count:,} {SKIPPED.get(k, k)}" for k, count in shown.skipped.items())
        say(f"lines and items passed over: {', '.join(parts)}")
    if shown.total > shown.rows.num_rows:
        say(f"these are the first {shown.rows.num_rows:,} of {shown.total:,}; raise --limit")


def _moment(flag: str, text: str | None) -> int | None:
    from nilometer.model.moments import moment_ns

    if text is None:
        return None
    try:
        return moment_ns(text)
    except ValueError as error:
        raise ConfigError(f"{flag}: {text!r}; {error}", slug="bad-parameter") from None


def engine_of(text: str) -> Engine:
    """The engine that `--engine` names. Raises ConfigError for what is none."""
    if text == "local":
        from nilometer.analyze.local import Local

        return Local()
    from nilometer.analyze.cluster import cluster_of

    cluster_of(text)  # what is wrong with a URL is told also where Spark is not installed
    from nilometer.analyze.spark import Spark

    return Spark(text)
