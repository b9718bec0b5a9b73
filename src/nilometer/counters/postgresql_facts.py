"""What is known of the counters of PostgreSQL.

`exact` is measured: PostgreSQL 15, 15 runs of a fixed workload by one thread and 30 by four.
What did not move in them, or is not in 15, stays None.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from nilometer.counters.figures import UNKNOWN, Fact
from nilometer.model.reading import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

_EXACT = """
idx_scan n_tup_del n_tup_ins n_tup_upd sessions statement.calls
"""
EXACT: Final = frozenset(_EXACT.split())
"""Moved, and by the same number in every run."""

_INEXACT = """
active_time bgwriter.buffers_alloc blk_read_time blks_hit blks_read idle_in_transaction_time
idx_tup_fetch session_time statement.rows statement.shared_blks_dirtied
statement.shared_blks_hit statement.wal_bytes statement.wal_records tup_deleted tup_fetched
tup_inserted tup_returned tup_updated wal_bytes wal_fpi wal_records wal_sync wal_write
xact_commit
"""
INEXACT: Final = frozenset(_INEXACT.split())
"""Moved by another number from run to run, if only by one in a thousand: the server's own
sessions, such as autovacuum, are in the figures of a database."""

_GAUGES = """
io.op_bytes n_dead_tup n_ins_since_vacuum n_live_tup n_mod_since_analyze numbackends
"""
GAUGES: Final = frozenset(_GAUGES.split())
"""Levels, that may fall."""

TABLE: Final[Mapping[str, tuple[str, str]]] = {
    "active_time": ("time that sessions spent in statements", "ms"),
    "analyze_count": ("times that somebody had tables analyzed", "{run}"),
    "autoanalyze_count": ("times that autovacuum analyzed tables", "{run}"),
    "autovacuum_count": ("times that autovacuum vacuumed tables", "{run}"),
    "bgwriter.buffers_alloc": ("buffers allocated", "{buffer}"),
    "bgwriter.buffers_backend": ("buffers that sessions wrote themselves", "{buffer}"),
    "bgwriter.buffers_checkpoint": ("buffers that checkpoints wrote", "{buffer}"),
    "bgwriter.buffers_clean": ("buffers that the background writer wrote", "{buffer}"),
    "bgwriter.checkpoints_req": ("checkpoints that were asked for", "{checkpoint}"),
    "bgwriter.checkpoints_timed": ("checkpoints that came by time", "{checkpoint}"),
    "blk_read_time": ("time spent reading blocks, with track_io_timing", "ms"),
    "blk_write_time": ("time spent writing blocks, with track_io_timing", "ms"),
    "blks_hit": ("blocks found in the buffer cache", "{block}"),
    "blks_read": ("blocks read, from disk or the kernel's cache", "{block}"),
    "checkpointer.buffers_written": ("buffers that checkpoints wrote", "{buffer}"),
    "checkpointer.num_requested": ("checkpoints that were asked for", "{checkpoint}"),
    "checkpointer.num_timed": ("checkpoints that came by time", "{checkpoint}"),
    "conflicts": ("statements cancelled on a replica by recovery", "{statement}"),
    "deadlocks": ("deadlocks", "{deadlock}"),
    "idle_in_transaction_time": ("time that sessions idled inside a transaction", "ms"),
    "idx_scan": ("scans of indexes", "{scan}"),
    "idx_tup_fetch": ("live rows fetched by index scans", "{row}"),
    "io.evictions": ("blocks that made room for others", "{block}"),
    "io.extends": ("extensions of tables and indexes", "{operation}"),
    "io.fsyncs": ("fsync calls", "{call}"),
    "io.hits": ("blocks found in the buffer cache", "{block}"),
    "io.reads": ("reads", "{operation}"),
    "io.writes": ("writes", "{operation}"),
    "n_dead_tup": ("dead rows, estimated", "{row}"),
    "n_ins_since_vacuum": ("rows inserted since the last vacuum, estimated", "{row}"),
    "n_live_tup": ("live rows, estimated", "{row}"),
    "n_mod_since_analyze": ("rows changed since the last analyze, estimated", "{row}"),
    "n_tup_del": ("rows deleted from tables that are there", "{row}"),
    "n_tup_hot_upd": ("rows updated without a new index entry", "{row}"),
    "n_tup_ins": ("rows inserted into tables that are there", "{row}"),
    "n_tup_newpage_upd": ("rows updated that moved to another page", "{row}"),
    "n_tup_upd": ("rows updated in tables that are there", "{row}"),
    "numbackends": ("sessions now", "{session}"),
    "seq_scan": ("sequential scans", "{scan}"),
    "seq_tup_read": ("live rows read by sequential scans", "{row}"),
    "session_time": ("time of sessions", "ms"),
    "sessions": ("sessions begun", "{session}"),
    "sessions_abandoned": ("sessions whose client was lost", "{session}"),
    "sessions_fatal": ("sessions that ended by an error", "{session}"),
    "sessions_killed": ("sessions that an operator ended", "{session}"),
    "statement.calls": ("statements that ran, by their text", "{statement}"),
    "statement.plans": ("times that statements were planned", "{plan}"),
    "statement.rows": ("rows that statements returned or changed", "{row}"),
    "statement.shared_blks_dirtied": ("blocks that statements changed first", "{block}"),
    "statement.shared_blks_hit": ("blocks that statements found in the cache", "{block}"),
    "statement.shared_blks_read": ("blocks that statements had read", "{block}"),
    "statement.shared_blks_written": ("blocks that statements wrote themselves", "{block}"),
    "statement.temp_blks_read": ("temporary blocks that statements read", "{block}"),
    "statement.temp_blks_written": ("temporary blocks that statements wrote", "{block}"),
    "statement.wal_bytes": ("bytes of WAL that statements made", "By"),
    "statement.wal_fpi": ("whole pages of WAL that statements made", "{page}"),
    "statement.wal_records": ("records of WAL that statements made", "{record}"),
    "temp_bytes": ("bytes written to temporary files", "By"),
    "temp_files": ("temporary files", "{file}"),
    "tup_deleted": ("rows deleted", "{row}"),
    "tup_fetched": ("rows that index scans fetched", "{row}"),
    "tup_inserted": ("rows inserted", "{row}"),
    "tup_returned": ("rows and index entries that scans returned", "{row}"),
    "tup_updated": ("rows updated", "{row}"),
    "vacuum_count": ("times that somebody had tables vacuumed", "{run}"),
    "wal_buffers_full": ("times that the WAL buffers were full", "{time}"),
    "wal_bytes": ("bytes of WAL", "By"),
    "wal_fpi": ("whole pages of WAL, written after each checkpoint", "{page}"),
    "wal_records": ("records of WAL", "{record}"),
    "wal_sync": ("times that WAL was synced; commits in a group share one", "{call}"),
    "wal_write": ("times that WAL was written; commits in a group share one", "{call}"),
    "xact_commit": ("transactions committed", "{transaction}"),
    "xact_rollback": ("transactions rolled back", "{transaction}"),
}

FAMILIES: Final[tuple[tuple[re.Pattern[str], str, str], ...]] = tuple(
    (re.compile(pattern), meaning, unit)
    for pattern, meaning, unit in (
        (r"(?:[a-z]+\.)?(.*_time)", "{0}", "ms"),
        (
            r"statement\.([a-z]+)\.calls",
            "statements that ran and begin with {0}",
            "{statement}",
        ),
        (r"statement\.([a-z]+)\.rows", "rows returned or changed by a {0}", "{row}"),
        (r"statement\.([a-z]+)\.wal_bytes", "bytes of WAL that a {0} made", "By"),
        (r"io\.(.*_bytes)", "bytes of I/O: {0}", "By"),
        (r"io\.(.*)", "I/O: {0}", "{operation}"),
        (r"bgwriter\.(.*)", "the background writer: {0}", "1"),
        (r"checkpointer\.(.*)", "the checkpointer: {0}", "1"),
        (r"(.*)", "{0}, as PostgreSQL's manual says", "1"),
    )
)
"""What a name says of those that are not in the table; the first one counts."""


def fact_of(name: str) -> Fact:
    """What is known of a counter, by its name.

    >>> fact_of("checkpointer.write_time").unit
    'ms'
    """
    kind = Kind.GAUGE if name in GAUGES else Kind.COUNTER
    exact = True if name in EXACT else False if name in INEXACT else None
    if name in TABLE:
        return Fact(*TABLE[name], kind, exact, from_zero=True)
    for pattern, meaning, unit in FAMILIES:
        match = pattern.fullmatch(name)
        if match:
            said = meaning.format(match[1].replace("_", " "))
            return Fact(said, unit, kind, exact, from_zero=True)
    return UNKNOWN._replace(kind=kind, exact=exact, from_zero=True)
