"""`nilometer doctor`: what is well, what is not, what was lost, and what Nilometer cost."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text

from nilometer.cli import shapes
from nilometer.cli.collector import Collector, collector_options, json_option
from nilometer.cli.exits import Exit
from nilometer.cli.terminal import Patience, cell, lines, one_line, show, show_json, stop
from nilometer.model.loss import wants_a_person as loss_wants_a_person
from nilometer.model.units import duration, quantity

if TYPE_CHECKING:
    from nilometer.doctor import Report

OVERHEAD = "nilometer.overhead"
REQUESTS = "http.server.request"


@click.command()
@click.option(
    "--overhead", is_flag=True, help="Ask the collector what Nilometer cost, per service."
)
@click.option("--losses", is_flag=True, help="Ask the collector what was lost, and why.")
@click.option("--probe", is_flag=True, help="Also try whether the exporters' receivers answer.")
@click.option("--since", default="1h", show_default=True, help="For --overhead and --losses.")
@json_option
@collector_options
def doctor(
    url: str,
    token_file: str | None,
    since: str,
    *,
    overhead: bool,
    losses: bool,
    probe: bool,
    as_json: bool,
) -> None:
    """Say what is well and what is not, each with its reason.

    Without flags: this installation, which twin of the C core runs and why, the settings that a
    service started here would get and where each comes from. With --overhead or --losses: what
    running services told the collector of themselves. Exit code 5 if something wants a person.

    \b
    Examples:
      nilometer doctor
      nilometer doctor --probe
      nilometer doctor --overhead --since 15m
      nilometer doctor --losses --json
    """
    if overhead or losses:
        if probe:
            stop(
                "--probe asks from here, --overhead and --losses ask the collector", Exit.USAGE
            )
        answer = told(Collector(url, token_file), since, overhead=overhead, losses=losses)
        if as_json:
            show_json(answer)
        else:
            show_answer(answer)
        is_lost = any(map(wants_a_person, answer.get("losses", ())))
        raise SystemExit(int(Exit.UNHEALTHY if is_lost else Exit.OK))
    from nilometer.doctor import report

    with Patience("asking the receivers"):
        found = report(probe=probe)
    if as_json:
        show_json([finding._asdict() for finding in found.findings])
    else:
        show(findings_table(found))
    raise SystemExit(int(Exit.OK if found.healthy else Exit.UNHEALTHY))


def costs(collector: Collector, since: str) -> list[dict[str, Any]]:
    """What Nilometer cost each service, in all and per request where it serves requests."""

    def statistics(name: str, *group_by: str) -> list[dict[str, Any]]:
        asked = {"since": since, "group_by": group_by}
        # A metric that nobody ever reported is no error here: there was nothing to cost.
        found = collector.find("metrics", name, "statistics", shape=shapes.STATISTICS, **asked)
        return [] if found is None else list(found["statistics"])

    parts = statistics(OVERHEAD, "service", "part")
    requests = {
        str(row["group"].get("service")): row["count"]
        for row in statistics(REQUESTS, "service")
    }
    found: dict[str, dict[str, Any]] = {}
    for row in parts:
        service = str(row["group"].get("service"))
        cost = found.setdefault(
            service, {"service": service, "recording_ns": 0, "export_ns": 0}
        )
        if row["group"].get("part") in ("recording", "export"):
            cost[f"{row['group']['part']}_ns"] = row["sum"] or 0
    for service, cost in found.items():
        cost["requests"] = requests.get(service, 0)
        whole = cost["recording_ns"] + cost["export_ns"]
        cost["per_request_ns"] = whole / cost["requests"] if cost["requests"] else None
    return [found[service] for service in sorted(found)]


def told(collector: Collector, since: str, *, overhead: bool, losses: bool) -> dict[str, Any]:
    """What running services told the collector of themselves."""
    answer: dict[str, Any] = {}
    if overhead:
        answer["overhead"] = costs(collector, since)
    if losses:
        kept = collector.ask("losses", shape=shapes.LOSSES, since=since)
        answer["losses"] = kept["losses"]
    return answer


def wants_a_person(loss: dict[str, Any]) -> bool:
    """Whether something is missing."""
    return loss_wants_a_person(loss["name"], loss["dimensions"])


def show_answer(answer: dict[str, Any]) -> None:
    """What running services told of themselves, as tables."""
    if "overhead" in answer:
        told = Text("no service told what it cost in that time; see --since")
        show(overhead_table(answer["overhead"]) if answer["overhead"] else told)
    if "losses" in answer:
        show(losses_table(answer["losses"]) if answer["losses"] else Text("nothing was lost"))


def overhead_table(rows: list[dict[str, Any]]) -> Table:
    """CPU time that went into measuring: recording is estimated, the background is measured."""
    table = Table(box=None, padding=(0, 1))
    table.add_column("service", style="cyan")
    for heading in ("recording", "in the background", "requests", "per request"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            cell(row["service"]),
            duration(row["recording_ns"]),
            duration(row["export_ns"]),
            f"{row['requests']:,}",
            duration(row["per_request_ns"]),
        )
    return table


def losses_table(rows: list[dict[str, Any]]) -> Table:
    """Everything lost or refused, by whom and why."""
    table = Table(box=None, padding=(0, 1))
    for heading in ("service", "counter", "what and why"):
        table.add_column(heading, overflow="fold")
    table.add_column("count", justify="right", style="red")
    for row in rows:
        why = " ".join(f"{key}={value}" for key, value in row["dimensions"].items())
        table.add_row(
            cell(row["service"]),
            cell(row["name"]),
            cell(why),
            cell(quantity(row["count"], "1")),
        )
    return table


def findings_table(found: Report) -> Table:
    """Every finding under its topic; what wants a person is red."""
    table = Table(box=None, padding=(0, 1))
    for heading in ("", "", "because"):
        table.add_column(heading, overflow="fold")
    for topic, findings in groupby(found.findings, key=lambda finding: finding.topic):
        table.add_row(Text(topic, "bold"))
        for one in findings:
            style = "" if one.healthy else "red"
            mark = "  " if one.healthy else "! "
            table.add_row(
                Text(mark + one_line(one.name), style),
                Text(one_line(one.value), style),
                Text(lines(one.because), "dim" if one.healthy else "red"),
            )
    return table
