"""`nilometer trace`: ask for one request to be traced, find traces, look at one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import click

from nilometer.cli import shapes
from nilometer.cli.collector import Collector, collector_options, json_option
from nilometer.cli.commands import InOrder, OneOf
from nilometer.cli.exits import Exit
from nilometer.cli.listing import TRACES, listed
from nilometer.cli.terminal import (
    console,
    say,
    show,
    show_document,
    show_json,
    stop,
    write,
)
from nilometer.cli.trace_import import import_traces
from nilometer.cli.waterfall import draw, headline

FORMATS: Final = ("tree", "json", "osprofiler", "chrome", "speedscope", "dot", "html")
TRACES_MAX: Final = 1000  # as many as the collector lists at once


@click.group(cls=InOrder)
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

    if as_json and as_curl:
        stop("--curl and --json: choose one of them", Exit.USAGE)
    try:
        key = read_keys(Path(key_file), origin="--key-file")[0]
        ttl_s = int(parse_duration_s(ttl, origin="--ttl"))
        trace_id, headers = new_trigger(key, ttl_s=ttl_s, origin="--ttl")
    except ConfigError as error:
        stop(str(error), Exit.USAGE)
    if as_json:
        show_json({"trace_id": trace_id, "headers": headers})
    elif as_curl:
        # No value of a trigger holds a space, so that the shell's splitting keeps them whole.
        write(" ".join(f"-H {name}:{value}" for name, value in headers.items()) + "\n")
    else:
        write("".join(f"{name}: {value}\n" for name, value in headers.items()))
        say(f"\nAfterwards: nilometer trace show {trace_id}")


@trace.command("show")
@click.argument("trace_id", metavar="ID")
@click.option(
    "--format",
    "form",
    type=OneOf(FORMATS),
    default="tree",
    show_default=True,
    help="tree for people; html for a browser, as one file; chrome for chrome://tracing and "
    "Perfetto; dot for Graphviz; osprofiler for OSProfiler's own tools.",
)
@json_option
@collector_options
def show_trace(
    trace_id: str, form: str, url: str, token_file: str | None, *, as_json: bool
) -> None:
    """Draw one trace: every span with its time, its own time, a bar, and what went wrong.

    The bars need a wide terminal; in a narrow one the notes go first, then the bars, then the
    ends of long names.

    \b
    Example:
      nilometer trace show 1f2e... --format speedscope > trace.speedscope.json
    """
    if as_json and form not in ("tree", "json"):
        stop(f"--json and --format {form}: choose one of them", Exit.USAGE)
    trace_id = checked_id(trace_id)
    collector = Collector(url, token_file)
    if form in ("tree", "json"):
        answer = collector.ask("traces", trace_id, shape=shapes.TRACE)
        if as_json or form == "json":
            show_json(answer)
        else:
            show(headline(answer))
            show(draw(answer, console().width))
            if answer.get("more"):
                say("these are the spans that started first; the trace has more")
        return
    show_document(collector.ask_text("traces", trace_id, format=form))


def checked_id(text: str) -> str:
    """A trace's id without dashes, as a UUID has them; ends the command if it is none."""
    told = text.strip().replace("-", "").lower()
    if not re.fullmatch("[0-9a-f]{32}", told):
        stop(
            f"ID {text!r}: a trace's id is 32 hex digits, dashes as in a UUID allowed; "
            "see `nilometer trace list`",
            Exit.USAGE,
        )
    return told


@trace.command("list")
@click.option("--service", help="Only traces that touched this service.")
@click.option("--name", help="Only traces with a span of this name.")
@click.option("--since", default="1h", show_default=True, help="15m, 2h, or an ISO 8601 time.")
@click.option("--until", help="The end of the time looked at; now if left out.")
@click.option(
    "--min-duration", metavar="TIME", help="Only those that took so long at least: 250ms, 2s."
)
@click.option("--max-duration", metavar="TIME", help="Only those that took less.")
@click.option(
    "--attribute",
    metavar="KEY=VALUE",
    multiple=True,
    help="Only those with a span that has this attribute; repeated, one span has all.",
)
@click.option("--error", is_flag=True, help="Only those in which something failed.")
@click.option("--request-id", help="Only those with this request id.")
@click.option(
    "--limit",
    type=click.IntRange(1, TRACES_MAX),
    default=20,
    show_default=True,
    help="At most so many, newest first.",
)
@json_option
@collector_options
def list_traces(url: str, token_file: str | None, *, as_json: bool, **wanted: Any) -> None:
    """List traces, newest first.

    \b
    Examples:
      nilometer trace list --error --since 15m
      nilometer trace list --service orders --min-duration 250ms --json
      nilometer trace list --attribute http.route=/orders --max-duration 2s
    """
    wanted["error"] = "true" if wanted["error"] else None
    answer = Collector(url, token_file).ask("traces", shape=shapes.TRACES, **wanted)
    if as_json:
        show_json(answer)
        return
    if not answer["traces"]:
        stop("no such traces; look further back with --since", Exit.NOT_FOUND)
    show(listed(answer["traces"], TRACES))
    if answer["more"]:
        say("there are more; choose with the other flags, or raise --limit")


trace.add_command(import_traces)
