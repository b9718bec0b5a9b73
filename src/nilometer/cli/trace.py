"""`nilometer trace`: ask for one request to be traced, find traces, look at one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from nilometer.cli.collector import Collector, collector_options, json_option
from nilometer.cli.exits import Exit
from nilometer.cli.terminal import show, show_json, stop
from nilometer.cli.units import duration, moment
from nilometer.cli.waterfall import draw, one_line

FORMATS = ("tree", "json", "osprofiler", "chrome", "speedscope", "dot")


@click.group()
def trace() -> None:
    """Ask for one request to be traced, find traces, look at one.

    \b
    Examples:
      nilometer trace new --key-file trace.key
      curl $(nilometer trace new --key-file trace.key --curl) http://127.0.0.1:8000/orders
      nilometer trace list --service orders --min-duration 250ms
      nilometer trace show 5f0c...e1 --format chrome > trace.json
    """


@trace.command()
@click.option(
    "--key-file",
    required=True,
    metavar="FILE",
    envvar="NILOMETER_TRACE_KEY_FILE",
    help="File with the key that the services know. [NILOMETER_TRACE_KEY_FILE]",
)
@click.option(
    "--ttl", default="5m", show_default=True, help="How long the trigger is accepted."
)
@click.option("--curl", "as_curl", is_flag=True, help="Print as arguments for curl.")
@json_option
def new(key_file: str, ttl: str, *, as_curl: bool, as_json: bool) -> None:
    """Print the headers that ask for one request to be traced, in both forms, and its id.

    Add all of them to the request: services that only know OSProfiler's form find that one.

    \b
    Example:
      nilometer trace new --key-file trace.key
      curl $(nilometer trace new --key-file trace.key --curl) http://127.0.0.1:8000/orders
    """
    from nilometer.config import parse_duration_s, read_keys
    from nilometer.errors import ConfigError
    from nilometer.trace.trigger import new_trigger

    try:
        key = read_keys(Path(key_file), origin="--key-file")[0]
        trace_id, headers = new_trigger(key, ttl_s=int(parse_duration_s(ttl, origin="--ttl")))
    except ConfigError as error:
        stop(str(error), Exit.USAGE)
    if as_json:
        show_json({"trace_id": trace_id, "headers": headers})
    elif as_curl:
        # No value of a trigger holds a space, so that the shell's splitting keeps them whole.
        click.echo(" ".join(f"-H {name}:{value}" for name, value in headers.items()))
    else:
        for name, value in headers.items():
            click.echo(f"{name}: {value}")
        click.echo(f"\nAfterwards: nilometer trace show {trace_id}", err=True)


@trace.command("show")
@click.argument("trace_id", metavar="ID")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="tree",
    show_default=True,
    help="tree for people; chrome for chrome://tracing and Perfetto; dot for Graphviz.",
)
@json_option
@collector_options
def show_trace(
    trace_id: str, form: str, url: str, token_file: str | None, *, as_json: bool
) -> None:
    """Draw one trace: every span with its time, its own time, a bar, and what went wrong.

    \b
    Example:
      nilometer trace show 1f2e... --format speedscope > trace.speedscope.json
    """
    collector = Collector(url, token_file)
    if as_json:
        form = "json"
    if form in ("tree", "json"):
        answer = collector.ask("traces", trace_id)
        if form == "json":
            show_json(answer)
        else:
            show(draw(answer))
        return
    click.echo(collector.ask_text("traces", trace_id, format=form))


@trace.command("list")
@click.option("--service", help="Only traces that touched this service.")
@click.option("--name", help="Only traces whose root has this name.")
@click.option("--since", default="1h", show_default=True, help="15m, 2h, or an ISO 8601 time.")
@click.option("--min-duration", metavar="TIME", help="Only those that took longer: 250ms, 2s.")
@click.option("--error", is_flag=True, help="Only those in which something failed.")
@click.option("--request-id", help="Only those with this request id.")
@click.option("--limit", default=20, show_default=True, help="At most so many, newest first.")
@json_option
@collector_options
def list_traces(url: str, token_file: str | None, *, as_json: bool, **wanted: Any) -> None:
    """List traces, newest first.

    \b
    Examples:
      nilometer trace list --error --since 15m
      nilometer trace list --service orders --min-duration 250ms --json
    """
    wanted["error"] = "true" if wanted["error"] else None
    answer = Collector(url, token_file).ask("traces", **wanted)
    if as_json:
        show_json(answer)
        return
    if not answer["traces"]:
        stop("no such traces; look further back with --since", Exit.NOT_FOUND)
    table = Table(box=None, padding=(0, 1))
    for heading, side in (
        ("id", "left"),
        ("started", "left"),
        ("service", "left"),
        ("root", "left"),
        ("time", "right"),
        ("spans", "right"),
        ("failed", "right"),
    ):
        table.add_column(heading, justify="right" if side == "right" else "left", no_wrap=True)
    for row in answer["traces"]:
        table.add_row(
            row["id"],
            moment(row["started_ns"]),
            Text(one_line(row["service"]), "cyan"),
            Text(one_line(row["root"]), "bold"),
            duration(row["duration_ns"]),
            str(row["spans"]),
            Text(str(row["errors"] or ""), "red"),
        )
    show(table)
