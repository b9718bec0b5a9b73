"""`nilometer gate`: what changed, and whether it is news."""

from __future__ import annotations

import json
from math import isfinite, nan
from typing import TYPE_CHECKING, BinaryIO, Final, NoReturn

import click
from rich.table import Table

from nilometer.cli.collector import json_option
from nilometer.cli.commands import InOrder
from nilometer.cli.exits import Exit
from nilometer.cli.gate_accept import accept
from nilometer.cli.gate_check import check, report
from nilometer.cli.gate_learn import learn
from nilometer.cli.terminal import cell, show, show_json, stop, write
from nilometer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.gate.steps import Step

SERIES_BYTES_MAX: Final = 8 << 20  # 400,000 runs of 20 digits
POINTS_MAX: Final = (
    100_000  # of the slowest series that takes a minute; a run a minute for months
)
PLOT_CELLS: Final = 72
BARS: Final = "▁▂▃▄▅▆▇█"


@click.group(cls=InOrder)
def gate() -> None:
    """What changed from run to run, and whether it is news.

    \b
    Examples:
      nilometer measure -- pytest --nilometer && nilometer gate check
      nilometer gate learn
      echo '[5, 5, 5, 5, 5, 5, 7, 7, 7, 7, 7, 7]' | nilometer gate steps -
    """


for command in (learn, check, report, accept):
    gate.add_command(command)


@gate.command("steps")
@click.argument("series", metavar="FILE", type=click.File("rb"))
@json_option
def find_steps(series: BinaryIO, *, as_json: bool) -> None:
    """Where a series left one level for another, and stayed.

    FILE is a JSON list of numbers in the order of the runs, or - for standard input. null, NaN
    and infinities are gaps. Spikes, noise, drift and what went away by itself are no steps.

    \b
    Example:
      nilometer gate steps durations.json --json
    """
    from nilometer.gate.steps import steps

    values = _read(series)
    found = steps(values)
    if as_json:
        show_json({"steps": [{"index": s.index, "because": s.because} for s in found]})
        return
    write(plot(values, [step.index for step in found]))
    if found:
        show(_table(found))
    else:
        write(f"no lasting change in {len(values)} runs\n")


@gate.command("newest")
@click.argument("series", metavar="FILE", type=click.File("rb"))
@click.option(
    "--confirm",
    "confirms",
    is_flag=True,
    help="Judge the newest five together: a run that alarmed, and four repetitions.",
)
@json_option
def judge_newest(series: BinaryIO, *, confirms: bool, as_json: bool) -> None:
    """Whether the newest run of a noisy series costs more than those before explain.

    FILE is a JSON list of numbers as for `steps`; the last is the run that is judged, by those
    since the last step. An alarm of one run is a reason to repeat it, four times.

    \b
    Examples:
      nilometer gate newest durations.json
      nilometer gate newest durations.json --confirm --json
    """
    from nilometer.gate.single import CONFIRMING_RUNS, confirm, current_level, judge

    values = _read(series)
    runs = CONFIRMING_RUNS if confirms else 1
    if len(values) < runs:
        stop(f"{len(values)} numbers; the newest {runs} are judged", Exit.USAGE)
    newest = [nan if value is None else value for value in values[-runs:]]
    level = current_level(values[:-runs])
    said = confirm(level, newest) if confirms else judge(level, newest[0])
    if as_json:
        show_json({"alarm": said.alarm, "because": said.because})
        return
    head = {True: "confirmed" if confirms else "alarm", False: "pass", None: "unknown"}
    write(f"{head[said.alarm]}: {said.because}\n")


def _read(series: BinaryIO) -> list[float | None]:
    """The series in a file; whatever is wrong with it ends the command with one sentence."""
    try:
        return read_series(
            series.read(SERIES_BYTES_MAX + 1), origin=getattr(series, "name", "<stdin>")
        )
    except ConfigError as error:
        stop(str(error), Exit.USAGE)


def read_series(text: bytes, *, origin: str) -> list[float | None]:
    """A JSON list of numbers, null where there is none; ConfigError says what else it is."""
    if len(text) > SERIES_BYTES_MAX:
        _refuse(origin, f"more than {SERIES_BYTES_MAX >> 20} MiB")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        _refuse(origin, f"not JSON: {error}")
    if not isinstance(values, list):
        _refuse(origin, f"{_called(values)} instead of a list of numbers")
    if len(values) > POINTS_MAX:
        _refuse(origin, f"{len(values)} numbers; at most {POINTS_MAX} are judged at once")
    return [_number(value, f"{origin}: number {at}") for at, value in enumerate(values)]


def _number(value: object, origin: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse(origin, f"{_called(value)} instead of a number")
    try:
        return float(value)
    except OverflowError:
        _refuse(origin, "more than a float can hold")


def _called(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return names.get(type(value), "a number" if value is not None else "null")


def _refuse(origin: str, what: str) -> NoReturn:
    raise ConfigError(f"{origin}: {what}", slug="gate-series")


def _table(found: Sequence[Step]) -> Table:
    table = Table(box=None, padding=(0, 1))
    for heading in ("from run", "before", "after", "because"):
        table.add_column(heading, justify="left" if heading == "because" else "right")
    for step in found:
        table.add_row(
            cell(str(step.index), "bold"),
            cell(f"{step.before:.6g}"),
            cell(f"{step.after:.6g}"),
            cell(step.because, "dim"),
        )
    return table


def plot(values: Sequence[float | None], changed: Sequence[int]) -> str:
    """The medians of up to 72 pieces of the series as bars, and below where it changed.

    >>> print(plot([1, 1, None, 8, 8, 8], [3]), end="")
    ▁▁ ███
       ^
    """
    from nilometer.gate.robust import median

    width = max(1, min(PLOT_CELLS, len(values)))
    pieces = [
        values[at * len(values) // width : (at + 1) * len(values) // width]
        for at in range(width)
    ]
    kept = [[v for v in piece if v is not None and isfinite(v)] for piece in pieces]
    middles = [median(piece) if piece else None for piece in kept]
    known = [middle for middle in middles if middle is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    bars = [" " if m is None else _bar(m, low, high) for m in middles]
    marks = {at * width // len(values) for at in changed}
    below = "".join("^" if at in marks else " " for at in range(width)).rstrip()
    return "".join(bars) + "\n" + (below + "\n" if below else "")


def _bar(value: float, low: float, high: float) -> str:
    # Halves, as the distance between the two may be more than a float holds.
    reach = high / 2 - low / 2
    share = (value / 2 - low / 2) / reach if reach else 0.0
    return BARS[min(len(BARS) - 1, int(share * len(BARS)))]
