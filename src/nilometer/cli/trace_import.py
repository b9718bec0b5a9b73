"""`nilometer trace import`: what OSProfiler kept elsewhere, into the collector's tables."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from nilometer.cli.collector import Collector, collector_options, json_option
from nilometer.cli.exits import Exit
from nilometer.cli.terminal import say, show_json, stop
from nilometer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FILE_BYTES_MAX: Final = 256 << 20  # a report of 100,000 points and their infos
PIECE: Final = 2000  # points of one request: 1 MB
PIECE_BYTES: Final = 8 << 20  # if they are large; what a collector takes at once is 16 MiB
PAYLOAD: Final = "meta.raw_payload."


@click.command("import")
@click.argument("source", metavar="redis://...|FILE.json")
@click.option("--trace", "base_id", default="", metavar="ID", help="Only this trace of Redis'.")
@json_option
@collector_options
def import_traces(
    source: str, base_id: str, url: str, token_file: str | None, *, as_json: bool
) -> None:
    """Take over traces that OSProfiler keeps in Redis, or a report of its `trace show --json`.

    What is there stays there; what is imported again counts once.

    \b
    Examples:
      nilometer trace import redis://:password@127.0.0.1:6379/0
      nilometer trace import report.json
    """
    collector = Collector(url, token_file)
    points = _of_redis(source, base_id) if "://" in source else _of_file(source)
    taken, rejected = 0, Counter[str]()
    traces: set[str] = set()
    for piece in _pieces(points):
        traces.update(
            str(one["base_id"]) for one in piece if isinstance(one, dict) and one.get("base_id")
        )
        answer = collector.send_points(piece)
        taken += answer["taken"]
        rejected.update(answer["rejected"])
    if as_json:
        show_json({"traces": len(traces), "taken": taken, "rejected": dict(rejected)})
        return
    if not taken:
        stop(f"{source.rpartition('@')[2]} holds no points of OSProfiler", Exit.NOT_FOUND)
    say(f"{taken:,} points of {len(traces):,} traces imported")
    for reason, count in sorted(rejected.items()):
        say(f"{count:,} were none: {reason}")


def _pieces(points: Iterable[Any]) -> Iterator[list[Any]]:
    """The points in pieces of what one request may hold."""
    piece: list[Any] = []
    held = 0
    for one in points:
        size = len(json.dumps(one))
        if piece and (len(piece) >= PIECE or held + size > PIECE_BYTES):
            yield piece
            piece, held = [], 0
        piece.append(one)
        held += size
    if piece:
        yield piece


def _of_redis(url: str, base_id: str) -> Iterator[Any]:
    from nilometer.counters.link import ReplyError
    from nilometer.counters.osprofiler_redis import Points

    shown = url.rpartition("@")[2]
    try:
        there = Points(url, origin="redis")
    except ConfigError as error:
        stop(str(error), Exit.USAGE)
    except (OSError, ReplyError) as error:
        stop(f"{shown}: {error}", Exit.UNREACHABLE)
    try:
        for piece in there.traces(base_id):
            yield from map(_parsed, piece)
    except (OSError, ReplyError) as error:
        stop(f"{shown}: {error}", Exit.UNREACHABLE)
    finally:
        there.close()


def _parsed(text: bytes) -> Any:
    """A point; what is no JSON goes along as text, to be counted as none by the collector."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text[:100].decode(errors="replace")


def _of_file(path: str) -> Iterator[Any]:
    try:
        with Path(path).open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        stop(f"{path}: {error.strerror or error}", Exit.USAGE)
    if len(content) > FILE_BYTES_MAX:
        stop(f"{path} is larger than {FILE_BYTES_MAX >> 20} MiB", Exit.USAGE)
    try:
        report = json.loads(content)
        yield from _told(report["children"])
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        stop(f"{path} is no report of OSProfiler's: {error!r}", Exit.USAGE)


def _told(nodes: Iterable[Any]) -> Iterator[Any]:
    """The payloads of all nodes, each start and each stop once."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        waiting.extend(node["children"])
        for key, value in node["info"].items():
            if key.startswith(PAYLOAD) and value is not None:
                yield value
