"""`nilometer metrics`: what is measured, and its statistics for any period and group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text

from nilometer.cli.collector import Collector, collector_options, json_option
from nilometer.cli.exits import Exit
from nilometer.cli.terminal import show, show_json, stop
from nilometer.cli.units import moment, quantity
from nilometer.cli.waterfall import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

QUANTILES = ("0.5", "0.99")


@click.group()
def metrics() -> None:
    """What is measured, and its statistics for any period and group.

    \b
    Examples:
      nilometer metrics list
      nilometer metrics stats http.server.request --group-by http.route --since 15m
      nilometer metrics top
    """


@metrics.command("list")
@click.option("--prefix", help="Only names that begin so.")
@click.option("--since", default="1h", show_default=True, help="15m, 2h, or an ISO 8601 time.")
@json_option
@collector_options
def list_metrics(
    prefix: str | None, since: str, url: str, token_file: str | None, *, as_json: bool
) -> None:
    """List the metrics that reported, with kind, unit and dimensions.

    \b
    Example:
      nilometer metrics list --prefix http.
    """
    answer = Collector(url, token_file).ask("metrics", prefix=prefix, since=since)
    if as_json:
        show_json(answer)
        return
    if not answer["metrics"]:
        stop("nothing reported; look further back with --since", Exit.NOT_FOUND)
    table = Table(box=None, padding=(0, 1))
    for heading in ("metric", "kind", "unit", "dimensions", "meaning"):
        table.add_column(heading, overflow="fold")
    for metric in answer["metrics"]:
        table.add_row(
            Text(one_line(metric["name"]), "bold"),
            metric["kind"],
            Text(metric["unit"]),
            Text(one_line(", ".join(metric["dimensions"])), "cyan"),
            Text(one_line(metric["description"]), "dim"),
        )
    show(table)


@metrics.command()
@click.argument("name")
@click.option("--since", default="1h", show_default=True, help="15m, 2h, or an ISO 8601 time.")
@click.option("--until", help="The end of the time looked at; now if left out.")
@click.option("--period", metavar="TIME", help="One row per so much time: 10s, 5m, 1h.")
@click.option(
    "--group-by", multiple=True, metavar="KEY", help="A dimension, service, host or pid."
)
@click.option("--where", multiple=True, metavar="KEY=VALUE", help="Only series with this.")
@click.option("--quantile", multiple=True, default=QUANTILES, show_default=True, metavar="Q")
@json_option
@collector_options
def stats(name: str, url: str, token_file: str | None, *, as_json: bool, **wanted: Any) -> None:
    """Count, sum, average, extremes and quantiles of one metric.

    Averages are sum by count, quantiles come from merged buckets: no averages of averages.

    \b
    Examples:
      nilometer metrics stats http.server.request --group-by service --period 1m
      nilometer metrics stats db.client.operation --where db.operation.name=SELECT
    """
    answer = Collector(url, token_file).ask("metrics", name, "statistics", **wanted)
    if as_json:
        show_json(answer)
        return
    if not answer["statistics"]:
        stop(f"nothing of {name!r} in that time; see `nilometer metrics list`", Exit.NOT_FOUND)
    keys = list(wanted["group_by"])
    if wanted["period"]:
        keys.insert(0, "from")
    rows = [
        ([labels(row, key) for key in keys], row, answer["unit"])
        for row in answer["statistics"]
    ]
    show(statistics_table(keys, rows, wanted["quantile"]))


def labels(row: dict[str, Any], key: str) -> str:
    """What a row is about, under one heading."""
    if key == "from":
        return moment(row["period_started_ns"])
    return one_line(str(row["group"].get(key, "")))


def statistics_table(
    keys: Sequence[str],
    rows: Sequence[tuple[list[str], dict[str, Any], str]],
    quantiles: Sequence[str],
) -> Table:
    """Rows of labels, statistics and unit as one table."""
    table = Table(box=None, padding=(0, 1))
    for key in keys:
        table.add_column(key, style="cyan", no_wrap=True)
    headings = [
        "count",
        "sum",
        "avg",
        "min",
        "max",
        *(f"p{float(q) * 100:g}" for q in quantiles),
    ]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for told, row, unit in rows:
        numbers = [row["sum"], row["avg"], row["min"], row["max"]]
        numbers += [row["quantiles"].get(q) for q in quantiles]
        count = f"{row['count']:,}"
        table.add_row(*map(Text, told), count, *(quantity(number, unit) for number in numbers))
    return table


@metrics.command()
@click.option("--since", default="1h", show_default=True, help="15m, 2h, or an ISO 8601 time.")
@click.option("--service", help="Only this service.")
@click.option("--limit", default=10, show_default=True, help="How many.")
@json_option
@collector_options
def top(
    since: str,
    service: str | None,
    limit: int,
    url: str,
    token_file: str | None,
    *,
    as_json: bool,
) -> None:
    """The timers that cost most: largest sum of time first.

    \b
    Example:
      nilometer metrics top --service orders --limit 5
    """
    collector = Collector(url, token_file)
    found: list[dict[str, Any]] = []
    for metric in collector.ask("metrics", since=since)["metrics"]:
        if metric["kind"] != "distribution" or metric["unit"] != "ns":
            continue
        answer = collector.ask(
            "metrics",
            metric["name"],
            "statistics",
            since=since,
            group_by="service",
            where=f"service={service}" if service else None,
            quantile=QUANTILES,
        )
        found += [{"name": metric["name"], **row} for row in answer["statistics"]]
    found.sort(key=lambda row: -row["sum"])
    if as_json:
        show_json({"timers": found[:limit]})
        return
    if not found:
        stop("no timer reported; look further back with --since", Exit.NOT_FOUND)
    rows = [
        ([one_line(row["name"]), one_line(row["group"]["service"])], row, "ns")
        for row in found[:limit]
    ]
    show(statistics_table(["timer", "service"], rows, QUANTILES))
