"""Counters that a server moves by itself, too: they say nothing sure of what a run cost.

PostgreSQL's figures of a database hold what its own sessions do there. An autovacuum worker
looks at every database once a minute, and reads some thousand rows of the catalogue; statistics
that it has gathered make every later session look up more, and what it writes is WAL. Whether a
page was still in the cache, or the kernel's, is up to the machine. A statement that comes to a
page with dead rows tidies it, and which one that is differs from run to run: what an INSERT
writes is a hundred times that, what others write may not be. The same workload moved each
of these by another number, in one run of thirty or from one hour to the next.

Whole pages are logged after checkpoints, which come by time. CREATE DATABASE copies those of
its template: the same suite, which makes its database in each run, logged 935 of them in 25
runs, and 950 once autovacuum had been there. How often buffers of the WAL are full is up to the
process that writes it.

InnoDB purges, flushes and writes its log by threads of its own. The same 63 statements on a
MariaDB that was started anew for each run wrote 10,600 bytes of log in nine runs of 22, and up
to 2,589 more in the others, as far as the purge had come; commits that fall together share a
write. Ten seconds after a table changed its statistics are made anew, in transactions that only
a run counts which takes as long (`Innodb_max_trx_id`). What was asked for tell `Com_*`,
`Handler_*` and the bytes received. Threads that serve connections are kept for the next ones,
and end when none come for five minutes: eight were made after a pause where none had ever been.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from nilometer.gate.history import Key

BYSTANDERS: Final[Mapping[str, Mapping[str, str]]] = {
    "mysql": {"Threads_created": "Connections"},
    "postgresql": {
        "blk_read_time": "",
        "blks_hit": "",
        "blks_read": "",
        "statement.delete.wal_bytes": "",
        "statement.merge.wal_bytes": "",
        "statement.select.wal_bytes": "",
        "statement.shared_blks_dirtied": "",
        "statement.shared_blks_hit": "",
        "statement.shared_blks_read": "",
        "statement.shared_blks_written": "",
        "statement.update.wal_bytes": "",
        "statement.wal_bytes": "statement.insert.wal_bytes",
        "statement.wal_fpi": "",
        "statement.wal_records": "",
        "tup_deleted": "n_tup_del",
        "tup_fetched": "idx_tup_fetch",
        "tup_inserted": "n_tup_ins",
        "tup_returned": "seq_tup_read",
        "tup_updated": "n_tup_upd",
        "wal_buffers_full": "",
        "wal_bytes": "statement.wal_bytes",
        "wal_fpi": "",
        "wal_records": "statement.wal_records",
        "wal_sync": "",
        "wal_write": "",
        "xact_commit": "statement.calls",
    },
}
"""By kind of backend; and which counter tells the same of the run alone, if any.

Where that one is not known (`pg_stat_statements` is not there, tables are made anew in each
run) it stays with this one, but for what is looked up in the catalogue, `ALWAYS`: that alarms
more often than it tells.
"""

COMMAND: Final = "command"
"""What the kernel charges to the command. A cache that is there or not, a longer path, a test
that failed last time change what it reads: one version differs from one tree to the next."""

OWN_WORK: Final[Mapping[str, tuple[str, ...]]] = {
    "mysql": (
        "Innodb_background_",
        "Innodb_buffer_pool_",
        "Innodb_data_",
        "Innodb_dblwr_",
        "Innodb_ibuf_",
        "Innodb_log_",
        "Innodb_lsn_",
        "Innodb_master_thread_",
        "Innodb_max_trx_id",
        "Innodb_os_log_",
        "Innodb_pages_",
        "Innodb_redo_log_",
    ),
    "postgresql": ("bgwriter.", "checkpointer.", "io."),
}
"""How the names begin of what the whole server does, for whoever."""

ALWAYS: Final = frozenset({"tup_fetched", "tup_returned"})


def is_told(values: Sequence[float | None]) -> bool:
    """Whether most runs have a figure of a counter, so that it can tell what another does."""
    return 2 * sum(value is not None for value in values) > len(values)


def why_bystander(key: Key, known: Collection[Key]) -> str:
    """Why a counter takes no part, as others than the run move it; empty if it may.

    `known` are the counters that runs have a figure of.
    """
    kind = key.backend.partition("@")[0]  # postgresql@db1:5432, where there are several
    if kind == COMMAND:
        return "what lies in the tree where it runs moves it, too"
    told_by = BYSTANDERS.get(kind, {}).get(key.counter)
    if key.counter.startswith(OWN_WORK.get(kind, ())):
        told_by = ""
    if told_by is None:
        return ""
    instead = key._replace(counter=told_by) in known
    if told_by and not instead and key.counter not in ALWAYS:
        return ""
    hint = f"; {told_by} tells it of the run alone" if instead else ""
    return f"the server moves it by itself, too{hint}"
