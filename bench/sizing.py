"""The arithmetic of docs/scale.md: what a fleet needs for so many spans a second.

All that is known of the machines is in `Figures`; `python -m bench.scale` measures them, and
checks that they add up, on a fleet that takes a thousandth of the spans.
"""

from __future__ import annotations

from math import ceil
from typing import Final, NamedTuple

DAY_S: Final = 86_400
GROUP_ROWS: Final = 50_000  # a commit has no more
FILE_ROWS: Final = 1_000_000  # nor a merged file


class Figures(NamedTuple):
    """What one machine was measured to do.

    Times are CPU seconds of one core, but `commit_s`, which is how long a commit of the store
    takes until the next one of the same table can begin. Of a collector: `idle_s` each second,
    `commit_cpu_s` for each commit, `span_s` for each span of a message out of Kafka until it
    is committed, and `merge_s` until it lies in a merged file. Bytes are of a span, in Kafka
    as it was sent and in a merged file.
    """

    idle_s: float
    commit_cpu_s: float
    span_s: float
    merge_s: float
    commit_s: float
    message_bytes: float
    stored_bytes: float


class Fleet(NamedTuple):
    """What it takes. Rates are per second, of the whole fleet but for `commits`: of a store."""

    stores: int
    collectors: int
    partitions: int
    cores: float
    commits: float
    network_mb: float
    stored_gb_a_day: float
    files_a_day: int


def fleet(spans: float, told: Figures, *, load: float = 0.6) -> Fleet:
    """For so many spans a second, with no core and no log busier than `load`.

    A store takes one commit after the other, of GROUP_ROWS at most, and one of its collectors
    merges at a time: that bounds a store. What a collector's core does bounds a collector.
    """
    of_log = load / told.commit_s * GROUP_ROWS
    of_merging = load / told.merge_s
    stores = ceil(spans / min(of_log, of_merging))
    commits = spans / stores / GROUP_ROWS
    cores = spans * (told.span_s + told.merge_s) + commits * stores * told.commit_cpu_s
    # An even number for each store, so that the spans are dealt out evenly.
    each = ceil(cores / stores / (load - told.idle_s))
    collectors = stores * each
    return Fleet(
        stores=stores,
        collectors=collectors,
        partitions=2 * collectors,  # so that twice as many collectors can share them
        cores=cores + collectors * told.idle_s,
        commits=commits,
        network_mb=spans * told.message_bytes / 1e6,
        stored_gb_a_day=spans * told.stored_bytes * DAY_S / 1e9,
        files_a_day=ceil(spans * DAY_S / FILE_ROWS),
    )


def cpu_s(told: Figures, *, seconds: float, spans: float, commits: float) -> float:
    """What one collector works in that time, not merging."""
    return seconds * told.idle_s + spans * told.span_s + commits * told.commit_cpu_s
