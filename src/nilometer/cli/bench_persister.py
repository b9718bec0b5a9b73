"""`nilometer bench persister`: load for Monasca's persister, and what it makes of it."""

from __future__ import annotations

import json
import os
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.table import Table

from nilometer.cli.bench_chart import html, sparkline, svg
from nilometer.cli.bench_load import Plan
from nilometer.cli.bench_report import Sample, compared, figures, rates, unlike
from nilometer.cli.bench_sources import DropWizard, Monasca, Source, SourceError
from nilometer.cli.bench_watch import Wanted, run
from nilometer.cli.commands import OneOf
from nilometer.cli.exits import Exit
from nilometer.cli.terminal import cell, one_line, plain, say, show, show_json, stop
from nilometer.config import parse_duration_s
from nilometer.errors import ConfigError
from nilometer.model.units import duration

if TYPE_CHECKING:
    from collections.abc import Mapping

EVERY_S_MIN: Final = 0.05  # a reading of each process costs it 11 ms


@click.command()
@click.option(
    "--source",
    type=OneOf(["dropwizard", "monasca"]),
    default="dropwizard",
    show_default=True,
    help="What is asked: an admin API, or Monasca's API.",
)
@click.option(
    "--at",
    multiple=True,
    metavar="URL",
    help="Where; again for one more. http://host:8091-8099 is each of these ports.",
)
@click.option(
    "--brokers", metavar="HOST:PORT,...", help="Kafka's. Without, others put load on."
)
@click.option("--topic", default="metrics", show_default=True, help="Where messages go.")
@click.option("--group", default="1_metrics", show_default=True, help="Whose lag is told.")
@click.option("--names", type=click.IntRange(1), default=600, show_default=True)
@click.option("--hosts", type=click.IntRange(1), default=1500, show_default=True)
@click.option("--processes", type=click.IntRange(1), default=22, show_default=True)
@click.option("--tenants", type=click.IntRange(1), default=10, show_default=True)
@click.option(
    "--total", type=click.IntRange(1), default=100_000, show_default=True, help="Messages."
)
@click.option(
    "--rate",
    type=click.FloatRange(0),
    default=0.0,
    help="Messages a second. [as fast as it goes]",
)
@click.option("--every", default="1s", show_default=True, help="How often the source is read.")
@click.option(
    "--timeout", default="60s", show_default=True, help="How long without any progress."
)
@click.option("--token-file", metavar="FILE", help="File with the source's token.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--save", metavar="FILE", help="Write the JSON there, for --compare.")
@click.option("--chart", metavar="FILE", help="Draw the rates: .svg or .html.")
@click.option(
    "--compare",
    nargs=2,
    metavar="OLD NEW",
    help="Run nothing; compare two saved runs.",
)
def persister(
    *,
    as_json: bool,
    save: str | None,
    chart: str | None,
    compare: tuple[str, str] | None,
    **flags: Any,
) -> None:
    """Put metrics into Kafka as Monasca's API does, and see them received and persisted.

    Without --brokers nothing is sent: it watches until --total more are persisted. The source
    is a process's admin endpoint, a collector's, or the Java persister's; or Monasca's API.

    \b
    Examples:
      nilometer bench persister --at http://127.0.0.1:8091-8099 --brokers 127.0.0.1:9092
      nilometer bench persister --source monasca --at http://127.0.0.1:4318 --total 1000000
      nilometer bench persister --compare before.json after.json
    """
    if compare:
        _show_compared(_loaded(compare[0]), _loaded(compare[1]), as_json=as_json)
        return
    if chart and Path(chart).suffix not in (".svg", ".html"):
        stop(f"--chart: {chart!r} is neither .svg nor .html", Exit.USAGE)
    for flag, file in (("--save", save), ("--chart", chart)):
        _must_be_writable(flag, file)
    told, end = run(*_wanted(flags))
    if as_json:
        show_json(told)
    else:
        _show(told)
    if save:
        _write(save, json.dumps(told, indent=1))
    if chart:
        drawn = svg(told) if chart.endswith(".svg") else html(told, "nilometer bench persister")
        _write(chart, drawn)
    if end.code:
        say(f"nilometer: {end.because}")
        raise SystemExit(int(end.code))


def _wanted(flags: Mapping[str, Any]) -> tuple[Wanted, Source]:
    if not flags["at"]:
        stop("--at: say where to ask, as in http://127.0.0.1:8091", Exit.USAGE)
    if flags["source"] == "monasca" and len(flags["at"]) > 1:
        stop("--at: Monasca's API is at one place", Exit.USAGE)
    for name in ("brokers", "topic", "group"):
        if flags[name] is not None and not flags[name].strip():
            stop(f"--{name} is empty", Exit.USAGE)
    if not isfinite(flags["rate"]):
        stop(f"--rate: {flags['rate']} is no number of messages", Exit.USAGE)
    token = _token(flags["token_file"])
    try:
        every_s = parse_duration_s(flags["every"], origin="--every")
        timeout_s = parse_duration_s(flags["timeout"], origin="--timeout")
        source: Source = (
            Monasca(flags["at"][0], token, topic=flags["topic"])
            if flags["source"] == "monasca"
            else DropWizard(flags["at"], token, topic=flags["topic"])
        )
    except (ConfigError, SourceError) as error:
        stop(str(error), Exit.USAGE)
    wanted = Wanted(
        flags["source"],
        flags["at"],
        flags["brokers"] or "",
        flags["topic"],
        flags["group"],
        Plan(*(flags[name] for name in Plan._fields)),
        flags["total"],
        flags["rate"],
        max(EVERY_S_MIN, every_s),
        timeout_s,
    )
    return wanted, source


def _token(file: str | None) -> str:
    if not file:
        return ""
    try:
        lines = Path(file).read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        stop(f"--token-file: {file}: {error}", Exit.USAGE)
    if not lines:
        stop(f"--token-file: {file} holds no token", Exit.USAGE)
    return lines[0]


def _show(told: Mapping[str, Any]) -> None:
    shown = Table(box=None, show_header=False)
    shown.add_column()
    shown.add_column(justify="right")
    for name in ("produced", "received", "persisted", "dropped", "duplicated", "lost"):
        if told[name] is not None:
            style = "red" if name == "lost" and told[name] else ""
            shown.add_row(name, plain(f"{told[name]:,}", style))
    for name in ("failed", "backlog", "others", "missed", "restarts"):
        if told[name]:
            shown.add_row(name, plain(f"{told[name]:,}", "red"))
    shown.add_row("seconds", f"{told['seconds']:,.1f}")
    for name in ("received_per_s", "persisted_per_s", "persisted_per_s_max"):
        shown.add_row(name, f"{told[name]:,.0f}")
    for name, value in (told["delay_s"] or {}).items():
        shown.add_row(f"delay {name}", duration(value * 1e9))
    if told["lag_max"] is not None:
        shown.add_row("lag, most / at the end", f"{told['lag_max']:,} / {told['lag_end']:,}")
    show(shown)
    samples = [
        Sample(**{name: one[name] for name in Sample._fields}) for one in told["samples"]
    ]
    for name in ("received", "persisted"):
        show(plain(f"{name:>9}/s  {sparkline(rates(samples, name))}"))
    _show_processes(told["processes"])
    _show_timers(told["timers"])


def _show_processes(processes: Mapping[str, Mapping[str, int]]) -> None:
    table = Table("process", box=None)
    names = ("received", "persisted", "dropped", "duplicated")
    for name in names:
        table.add_column(name, justify="right")
    for process, counts in processes.items():
        table.add_row(cell(process), *(f"{counts.get(name, 0):,}" for name in names))
    show(table)


def _show_timers(timers: Mapping[str, Mapping[str, Any]]) -> None:
    table = Table("timer", box=None)
    names = ("count", "mean", "p50", "p95", "p99", "max")
    for name in names:
        table.add_column(name, justify="right")
    for timer, values in timers.items():
        times = (duration(values[name] * 1e9) if name in values else "-" for name in names[1:])
        table.add_row(timer, f"{values['count']:,}", *times)
    show(table)


def _loaded(file: str) -> dict[str, Any]:
    try:
        told = json.loads(Path(file).read_text())
        if told["version"] != 1 or not told["samples"]:
            raise ValueError("of another version")
        unlike(told, told)
        figures(told)
    except OSError as error:
        stop(f"--compare: {file}: {error.strerror or error}", Exit.USAGE)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        because = one_line(str(error))
        stop(f"--compare: {file}: this is no report of this command: {because}", Exit.USAGE)
    return dict(told)


def _show_compared(old: Mapping[str, Any], new: Mapping[str, Any], *, as_json: bool) -> None:
    changes = compared(old, new)
    if differ := unlike(old, new):
        say(f"these runs are of different settings: {', '.join(differ)}")
    if as_json:
        show_json([{**one._asdict(), "share": one.share} for one in changes])
        return
    table = Table("figure", box=None)
    for name in ("old", "new", "change"):
        table.add_column(name, justify="right")
    for one in changes:
        share = "-" if one.share is None else f"{one.share:+.1%}"
        table.add_row(one.name, f"{one.old:,.6g}", f"{one.new:,.6g}", share)
    show(table)


def _must_be_writable(flag: str, file: str | None) -> None:
    """Before a run, not after it."""
    if file is None:
        return
    path = Path(file)
    is_usable = os.access(path if path.exists() else path.parent, os.W_OK)
    if not is_usable or path.is_dir():
        stop(f"{flag}: {file} cannot be written", Exit.USAGE)


def _write(file: str, text: str) -> None:
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        stop(f"{file}: {error.strerror or error}", Exit.USAGE)
