"""`nilometer metrics`: what is measured, and its statistics for any period and group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click
from rich.cells import cell_len
from rich.table import Table

from nilometer.cli import shapes
from nilometer.cli.collector import Collector, collector_options, json_option
from nilometer.cli.commands import InOrder
from nilometer.cli.exits import Exit
from nilometer.cli.terminal import Patience, cell, console, one_line, say, show, show_json, stop
from nilometer.model.units import moment, quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

QUANTILES: Final = ("0.5", "0.99")
DISPENSABLE: Final = ("min", "sum")  # --json has them in any width
LABEL_CELLS_MAX: Final = 40  # of the first label, which is not folded up to here
LABEL_CELLS_MIN: Final = 12  # of the others, with the space around them
METRICS_MAX: Final = 1000  # as many as the collector lists at once


@click.group(cls=InOrder)
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
@click.option(
    "--limit",
    type=click.IntRange(1, METRICS_MAX),
    default=200,
    show_default=True,
    help="At most so many, by name.",
)
@json_option
@collector_options
def list_metrics(url: str, token_file: str | None, *, as_json: bool, **wanted: Any) -> None:
    """List the metrics that reported, with kind, unit and dimensions.

    \b
    Example:
      nilometer metrics list --prefix http.
    """
    answer = Collector(url, token_file).ask("metrics", shape=shapes.METRICS, **wanted)
    if as_json:
        show_json(answer)
        return
    if not answer["metrics"]:
        stop("nothing reported; look further back with --since", Exit.NOT_FOUND)
    table = Table(box=None, padding=(0, 1))
    # Names are there to be copied: what explains them is folded first.
    longest = max(cell_len(one_line(metric["name"])) for metric in answer["metrics"])
    table.add_column("metric", overflow="fold", min_width=min(longest, LABEL_CELLS_MAX))
    for heading in ("kind", "unit", "dimensions", "meaning"):
        table.add_column(heading, overflow="fold")
    for metric in answer["metrics"]:
        table.add_row(
            cell(metric["name"], "bold"),
            cell(metric["kind"]),
            cell(metric["unit"]),
            cell(", ".join(metric["dimensions"]), "cyan"),
            cell(metric["description"], "dim"),
        )
    show(table)
    if answer["more"]:
        say("there are more; choose with --prefix, or raise --limit")


@metrics.command()
@click.argument("name")
@click.option("--since", default="1h", show_default=True, help="15m, 2h, or an ISO 8601 time.")
@click.option("--until", help="The end of the time looked at; now if left out.")
@click.option("--period", metavar="TIME", help="One row per so much time: 10s, 5m, 1h.")
@click.option(
    "--group-by",
    multiple=True,
    metavar="KEY",
    help="A dimension, service, host, pid or version.",
)
@click.option("--where", multiple=True, metavar="KEY=VALUE", help="Only series with this.")
@click.option("--quantile", multiple=True, default=QUANTILES, show_default=True, metavar="Q")
@json_option
@collector_options
def stats(name: str, url: str, token_file: str | None, *, as_json: bool, **wanted: Any) -> None:
    """Count, sum, average, extremes and quantiles of one metric.

    Averages are sum by count, quantiles come from merged buckets: no averages of averages.
    Of a counter the sum is how far it moved, the rate is per second; of a gauge `last` is where
    it stands.

    \b
    Examples:
      nilometer metrics stats http.server.request --group-by service --period 1m
      nilometer metrics stats db.client.operation --where db.operation.name=SELECT
    """
    if not name.strip():
        stop("NAME: it is empty; see `nilometer metrics list`", Exit.USAGE)
    # The collector takes keys joined by commas, too: then each is a column of its own.
    wanted["group_by"] = [k for given in wanted["group_by"] for k in given.split(",") if k]
    answer = Collector(url, token_file).ask(
        "metrics", name, "statistics", shape=shapes.STATISTICS, **wanted
    )
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
    value = row["group"].get(key)
    return "-" if value is None else str(value)


def statistics_table(
    keys: Sequence[str],
    rows: Sequence[tuple[list[str], dict[str, Any], str]],
    quantiles: Sequence[str],
) -> Table:
    """Rows of labels, statistics and unit as one table; what no row has gets no column."""
    table = Table(box=None, padding=(0, 1))
    columns = {
        "sum": [row["sum"] for _, row, _ in rows],
        "rate": [row["rate"] if row["kind"] == "counter" else None for _, row, _ in rows],
        **{name: [row[name] for _, row, _ in rows] for name in ("last", "avg")},
        **{name: [_extreme(row, name) for _, row, _ in rows] for name in ("min", "max")},
        **{
            f"p{float(q) * 100:g}": [row["quantiles"].get(q) for _, row, _ in rows]
            for q in quantiles
        },
    }
    texts = {"count": [f"{row['count']:,}" for _, row, _ in rows]}
    for name, values in columns.items():
        if any(value is not None for value in values):
            units = (unit for _, _, unit in rows)
            texts[name] = [written(name, *pair) for pair in zip(values, units, strict=True)]
    first = max((cell_len(one_line(told[0])) for told, _, _ in rows if told), default=0)
    first = min(first, LABEL_CELLS_MAX)
    for place, key in enumerate(keys):
        least = max(first, cell_len(key)) if place == 0 else None
        table.add_column(cell(key), style="cyan", overflow="fold", width=least)
    texts = fitting(
        texts, console().width - sum([first + 2, *(LABEL_CELLS_MIN for _ in keys[1:])])
    )
    for heading in texts:
        table.add_column(heading, justify="right", no_wrap=True)
    for at, (told, _, _) in enumerate(rows):
        table.add_row(*map(cell, told), *(cell(column[at]) for column in texts.values()))
    return table


def _extreme(row: dict[str, Any], name: str) -> float | None:
    """None of a counter: its single readings tell how often it was read, not what happened."""
    return None if row["avg"] is None else row[name]


def fitting(texts: dict[str, list[str]], width: int) -> dict[str, list[str]]:
    """The columns without those that say least, where a terminal is too narrow for all."""
    kept = dict(texts)
    for name in DISPENSABLE:
        needed = sum(2 + max(map(cell_len, (head, *column))) for head, column in kept.items())
        if needed > width:
            kept.pop(name, None)
    return kept


def written(name: str, value: object, unit: str) -> str:
    """One number of the table, with its unit."""
    if not isinstance(value, int | float):
        return "-"
    return f"{value:,.4g}/s" if name == "rate" else quantity(value, unit)


@metrics.command()
@click.option("--since", default="1h", show_default=True, help="15m, 2h, or an ISO 8601 time.")
@click.option("--service", help="Only this service.")
@click.option(
    "--limit",
    type=click.IntRange(1, METRICS_MAX),
    default=10,
    show_default=True,
    help="How many.",
)
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
    found = costliest(Collector(url, token_file), since, service)[:limit]
    if as_json:
        show_json({"timers": found})
        return
    if not found:
        whose = f" of service {service!r}" if service else ""
        stop(f"no timer{whose} reported; look further back with --since", Exit.NOT_FOUND)
    rows = [([row["name"], row["group"].get("service") or "-"], row, "ns") for row in found]
    show(statistics_table(["timer", "service"], rows, QUANTILES))


def costliest(collector: Collector, since: str, service: str | None) -> list[dict[str, Any]]:
    """The statistics of every timer by service, largest sum first; one question per timer."""
    listed = collector.ask("metrics", shape=shapes.METRICS, since=since, limit=METRICS_MAX)
    timers = [
        metric["name"]
        for metric in listed["metrics"]
        if metric["kind"] == "distribution" and metric["unit"] == "ns"
    ]
    if listed["more"]:
        say(
            f"there are more than {METRICS_MAX} metrics; only the first, by name, are looked at"
        )
    found: list[dict[str, Any]] = []
    with Patience("asking for the timers") as told:
        for number, name in enumerate(timers, 1):
            told.tell(f"asking for timer {number} of {len(timers)}: {name}")
            answer = collector.find(
                "metrics",
                name,
                "statistics",
                shape=shapes.STATISTICS,
                since=since,
                group_by="service",
                where=f"service={service}" if service else None,
                quantile=QUANTILES,
            )
            found += [
                {"name": name, **row} for row in (answer or {"statistics": []})["statistics"]
            ]
    return sorted(found, key=lambda row: -(row["sum"] or 0))
