"""`nilometer requests`, `resource` and `timings`: what OpenStack's notifications tell."""

from __future__ import annotations

from typing import Any, Final

import click
from rich.table import Table

from nilometer.cli import shapes
from nilometer.cli.collector import Collector, collector_options, json_option
from nilometer.cli.exits import Exit
from nilometer.cli.listing import REQUESTS, listed
from nilometer.cli.terminal import cell, plain, say, show, show_json, stop
from nilometer.model.units import counted, duration, moment

LISTED_MAX: Final = 1000  # as many as the collector lists at once
HISTORY_MAX: Final = 10_000
SHARES: Final = ("0.5", "0.95", "0.99")


@click.command()
@click.argument("request_id", metavar="[ID]", required=False)
@click.option("--project", help="Only those of this project.")
@click.option("--service", help="Only those with a notification of this service.")
@click.option("--failed", is_flag=True, help="Only those in which something failed.")
@click.option(
    "--since", help="15m, 2h, or an ISO 8601 time; 1h for the list, of one request all."
)
@click.option("--until", help="The end of the time looked at; now if left out.")
@click.option(
    "--limit",
    type=click.IntRange(1, LISTED_MAX),
    default=20,
    show_default=True,
    help="List at most so many, newest first.",
)
@json_option
@collector_options
def requests(
    request_id: str | None,
    url: str,
    token_file: str | None,
    *,
    as_json: bool,
    since: str | None,
    until: str | None,
    **wanted: Any,
) -> None:
    """List requests that notifications tell of, or show all that happened to one.

    One request is shown in order, with the time since the line before: its notifications, those
    of requests that it led to in other services, log lines with its id, and spans.

    \b
    Examples:
      nilometer requests --failed --since 15m
      nilometer requests req-b9a7b8d4-11d4-4b8c-a7a0-3b5d5f0b6c11
    """
    collector = Collector(url, token_file)
    if request_id is not None:
        if wanted["project"] or wanted["service"] or wanted["failed"]:
            stop("ID: --project, --service and --failed choose of the list", Exit.USAGE)
        _show_history(collector, "requests", request_id, since, until, as_json=as_json)
        return
    wanted["failed"] = "true" if wanted["failed"] else None
    answer = collector.ask(
        "requests", shape=shapes.REQUESTS, since=since, until=until, **wanted
    )
    if as_json:
        show_json(answer)
        return
    if not answer["requests"]:
        stop("no such requests; look further back with --since", Exit.NOT_FOUND)
    show(listed(answer["requests"], REQUESTS))
    if answer["more"]:
        say("there are more; choose with the other flags, or raise --limit")


@click.command()
@click.argument("resource_id", metavar="UUID")
@click.option("--since", help="15m, 2h, or an ISO 8601 time; all if left out.")
@click.option("--until", help="The end of the time looked at; now if left out.")
@json_option
@collector_options
def resource(
    resource_id: str,
    url: str,
    token_file: str | None,
    *,
    as_json: bool,
    since: str | None,
    until: str | None,
) -> None:
    """Show all that happened to an instance, image, network or volume, in order.

    Also shown are notifications of others that name it, as those of its ports do, and log lines
    with its id.

    \b
    Example:
      nilometer resource 5a1f0ee8-6f40-4d0c-9d7e-0f3a8a1b2c3d --since 2h
    """
    collector = Collector(url, token_file)
    _show_history(collector, "resources", resource_id, since, until, as_json=as_json)


@click.command()
@click.option("--operation", help="Only those whose names begin so: compute.instance.")
@click.option("--project", help="Only those of this project.")
@click.option("--by-project", is_flag=True, help="A line for each operation and project.")
@click.option(
    "--kpi",
    is_flag=True,
    help="From the API's first word to the last end of each request, by project.",
)
@click.option("--since", default="24h", show_default=True, help="15m, 2h, or ISO 8601.")
@click.option("--until", help="The end of the time looked at; now if left out.")
@json_option
@collector_options
def timings(
    url: str,
    token_file: str | None,
    *,
    as_json: bool,
    kpi: bool,
    by_project: bool,
    **wanted: Any,
) -> None:
    """Show how long operations took, from `.start` to `.end`, and how many failed.

    \b
    Examples:
      nilometer timings --operation compute.instance --since 2h
      nilometer timings --kpi
    """
    if kpi and by_project:
        stop("--kpi and --by-project: choose one of them", Exit.USAGE)
    collector = Collector(url, token_file)
    if kpi:
        answer = collector.ask("kpi", shape=shapes.KPI, quantile=SHARES, **wanted)
    else:
        group_by = "project" if by_project else None
        answer = collector.ask(
            "timings", shape=shapes.TIMINGS, quantile=SHARES, group_by=group_by, **wanted
        )
    if as_json:
        show_json(answer)
        return
    rows = answer["kpi" if kpi else "timings"]
    if not rows:
        stop("no such operations; look further back with --since", Exit.NOT_FOUND)
    show(_timings_table(rows, whole=not kpi))


def _show_history(
    collector: Collector,
    path: str,
    told: str,
    since: str | None,
    until: str | None,
    *,
    as_json: bool,
) -> None:
    answer = collector.ask(
        path, told, shape=shapes.HISTORY, since=since, until=until, limit=HISTORY_MAX
    )
    if as_json:
        show_json(answer)
        return
    show(
        plain(
            f"{counted(len(answer['happenings']), 'line')} in "
            f"{duration(answer['duration_ns'])}, {answer['errors']} failed"
        )
    )
    show(_history_table(answer["happenings"], told))
    if answer["more"]:
        say(f"these are the latest {HISTORY_MAX}; there are more, choose with --until")


def _history_table(rows: list[dict[str, Any]], about: str) -> Table:
    table = Table(box=None, padding=(0, 1))
    table.add_column("when", no_wrap=True)
    table.add_column("gap", justify="right", no_wrap=True)
    for heading in ("what", "where", "state", "note"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(
            moment(row["at_ns"]),
            duration(row["gap_ns"]) if row["gap_ns"] is not None else "",
            cell(row["name"] or row["kind"], "red" if row["is_error"] else "bold"),
            cell("@".join(part for part in (row["service"], row["host"]) if part), "cyan"),
            cell(_state(row)),
            cell(_note(row, about)),
        )
    return table


def _state(row: dict[str, Any]) -> str:
    """The state, and what it was before; the task beside it."""
    parts = []
    for new, old in ((row["state"], row["old_state"]), (row["task"], row["old_task"])):
        if new or old:
            parts.append(f"{old} > {new}" if old and old != new else new or old)
    return ", ".join(parts)


def _note(row: dict[str, Any], about: str) -> str:
    """What went wrong, a log line, how long a span took, which other resource it is of."""
    parts = [row["text"]]
    if row["duration_ns"] is not None:
        parts.append(f"took {duration(row['duration_ns'])}, trace {row['id']}")
    if row["resource_id"] not in ("", about):
        parts.append(row["resource_id"])
    return "; ".join(part for part in parts if part)


def _timings_table(rows: list[dict[str, Any]], *, whole: bool) -> Table:
    """`whole` for operations, of which some are not finished."""
    table = Table(box=None, padding=(0, 1))
    table.add_column("operation", overflow="fold")
    by_project = rows[0]["project_id"] is not None
    if by_project:
        table.add_column("project", overflow="fold")
    times = ("min", "p50", "avg", "p95", "p99", "max")
    counts = ("unfinished", "end_only") if whole else ("end_only",)
    headings = ("open", "end only") if whole else ("end only",)
    for heading in ("count", *times, "failed", *headings):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        p50, p95, p99 = (row["quantiles"].get(share) for share in SHARES)
        told = (row["min"], p50, row["avg"], p95, p99, row["max"])
        table.add_row(
            cell(row["operation"], "bold"),
            *((cell(row["project_id"], "cyan"),) if by_project else ()),
            f"{row['count']:,}",
            *(duration(value) for value in told),
            cell(str(row["failed"] or ""), "red"),
            *(str(row[key] or "") for key in counts),
        )
    return table
