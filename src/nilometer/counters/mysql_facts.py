"""What is known of the counters of MySQL and MariaDB.

`exact` is measured: MariaDB 10.11, 30 runs of a fixed workload by one thread and 30 by four.
What did not move in them stays None. Statements by digest are not exact: the performance
schema counts without locks, and of 1,740 statements of four threads one was lost in every
fortieth run.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.counters.figures import UNKNOWN, Fact
from nilometer.model.reading import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

STATEMENTS: Final[Mapping[str, str]] = {
    "COUNT_STAR": "statement.calls",
    "SUM_ROWS_EXAMINED": "statement.rows_examined",
    "SUM_ROWS_SENT": "statement.rows_sent",
    "SUM_ROWS_AFFECTED": "statement.rows_affected",
    "SUM_NO_INDEX_USED": "statement.no_index_used",
    "SUM_NO_GOOD_INDEX_USED": "statement.no_good_index_used",
    "SUM_SELECT_SCAN": "statement.select_scan",
    "SUM_SELECT_FULL_JOIN": "statement.select_full_join",
    "SUM_CREATED_TMP_TABLES": "statement.tmp_tables",
    "SUM_CREATED_TMP_DISK_TABLES": "statement.tmp_disk_tables",
    "SUM_SORT_ROWS": "statement.sort_rows",
    "SUM_ERRORS": "statement.errors",
    "SUM_WARNINGS": "statement.warnings",
}
"""Columns of the digest table, in the order they are read, and the counters they become."""

_STATEMENT_MEANINGS: Final = {
    "statement.calls": ("statements that ran, by digest", "{statement}", False),
    "statement.rows_examined": ("rows that statements looked at", "{row}", False),
    "statement.rows_sent": ("rows that statements returned", "{row}", False),
    "statement.rows_affected": ("rows that statements changed", "{row}", False),
    "statement.no_index_used": (
        "statements that read a table without index",
        "{statement}",
        True,
    ),
    "statement.no_good_index_used": ("statements without a good index", "{statement}", None),
    "statement.select_scan": (
        "statements that scanned their first table",
        "{statement}",
        False,
    ),
    "statement.select_full_join": (
        "joins that scanned their second table",
        "{statement}",
        None,
    ),
    "statement.tmp_tables": ("temporary tables that statements made", "{table}", False),
    "statement.tmp_disk_tables": ("of these, those on disk", "{table}", None),
    "statement.sort_rows": ("rows that statements sorted", "{row}", False),
    "statement.errors": ("statements that failed", "{error}", False),
    "statement.warnings": ("warnings that statements raised", "{warning}", None),
}

_EXACT = """
Bytes_received Com_commit Com_delete Com_insert Com_select Com_set_option Com_show_status
Com_update Connections Created_tmp_tables Handler_commit Handler_delete Handler_read_key
Handler_read_rnd_next Handler_tmp_write Handler_update Handler_write
Opened_files Opened_table_definitions Optimizer_join_prefixes_check_calls Queries Questions
Rows_tmp_read Select_scan
"""
EXACT: Final = frozenset(_EXACT.split())
"""Moved, and by the same number in every run."""

_INEXACT = """
Bytes_sent Empty_queries Handler_read_next Innodb_background_log_sync
Innodb_buffer_pool_pages_split Innodb_buffer_pool_read_requests
Innodb_buffer_pool_write_requests Innodb_data_fsyncs Innodb_log_write_requests
Innodb_log_writes Innodb_lsn_current Innodb_lsn_flushed Innodb_master_thread_idle_loops
Innodb_max_trx_id
Innodb_os_log_written Innodb_pages_created Innodb_row_lock_time Innodb_row_lock_waits
Opened_tables Query_time Rows_read Rows_sent Table_locks_immediate Table_open_cache_hits
Table_open_cache_misses Uptime Uptime_since_flush_status
"""
INEXACT: Final = frozenset(_INEXACT.split())
"""Moved by another number from run to run, if only by one in a thousand."""

GAUGES: Final = re.compile(
    r"Acl_.*|Aria_pagecache_blocks_.*|Binlog_snapshot_position|Delayed_insert_threads"
    r"|Global_connection_memory|Innodb_available_undo_logs"
    r"|Innodb_buffer_pool_(pages|bytes)_(data|dirty|free|latched|misc|old|total)"
    r"|Innodb_checkpoint_.*|Innodb_data_pending_.*|Innodb_encryption_rotation_estimated_iops"
    r"|Innodb_history_list_length|Innodb_ibuf_(free_list|segment_size|size)|Innodb_mem_.*"
    r"|Innodb_num_open_files|Innodb_onlineddl_.*|Innodb_os_log_pending_.*|Innodb_page_size"
    r"|Innodb_redo_log_(logical|physical)_size|Innodb_redo_log_capacity_resized"
    r"|Innodb_row_lock_(current_waits|time_avg|time_max)|Innodb_undo_tablespaces_.*"
    r"|Key_blocks_.*|Last_query_.*|Max_memory_used|Max_used_connections.*|Memory_used.*"
    r"|Not_flushed_delayed_rows|Open_(files|streams|table_definitions|tables)"
    r"|Prepared_stmt_count|Qcache_(free_.*|queries_in_cache|total_blocks)"
    r"|Rpl_semi_sync_.*_(avg_wait_time|clients|wait_sessions)|Slave_heartbeat_period"
    r"|Slave_open_temp_tables|Slaves_.*|Ssl_(ctx_verify|default|verify)_.*"
    r"|Ssl_session_cache_size|Ssl_used_session_cache_entries|Stack_usage"
    r"|Table_open_cache_active_instances|Tc_log_(max_pages_used|page_size)|Threadpool_.*"
    r"|Threads_(cached|connected|running)|Uptime.*|wsrep|wsrep_(cluster_.*|thread_count|local_index"
    r"|local_(cert|recv|send)_queue.*|flow_control_paused|.*_thread_count)"
)
"""Levels, that may fall. Uptimes too: the clock that they are taken from can be set back."""

TABLE: Final[Mapping[str, tuple[str, str]]] = {
    "Aborted_clients": ("connections that ended without a goodbye", "{connection}"),
    "Aborted_connects": ("attempts to connect that failed", "{attempt}"),
    "Bytes_received": ("bytes that clients sent: statements with their values", "By"),
    "Bytes_sent": ("bytes that were sent to clients: mostly rows", "By"),
    "Com_delete": ("DELETE statements", "{statement}"),
    "Com_insert": ("INSERT statements, one for each however many rows", "{statement}"),
    "Com_select": ("SELECT statements", "{statement}"),
    "Com_update": ("UPDATE statements", "{statement}"),
    "Connections": ("attempts to connect, successful or not", "{attempt}"),
    "Created_tmp_disk_tables": ("temporary tables that went to disk", "{table}"),
    "Created_tmp_files": ("temporary files", "{file}"),
    "Created_tmp_tables": ("temporary tables that statements needed", "{table}"),
    "Empty_queries": ("statements that returned no row", "{statement}"),
    "Handler_commit": ("commits inside the storage engines", "{commit}"),
    "Handler_delete": ("rows deleted", "{row}"),
    "Handler_read_first": ("times the first entry of an index was read", "{read}"),
    "Handler_read_key": ("rows asked for by key", "{read}"),
    "Handler_read_next": ("rows read forward along an index", "{read}"),
    "Handler_read_prev": ("rows read backward along an index", "{read}"),
    "Handler_read_rnd": ("rows read by position, after a sort", "{read}"),
    "Handler_read_rnd_next": ("rows read by scanning a table", "{read}"),
    "Handler_rollback": ("rollbacks inside the storage engines", "{rollback}"),
    "Handler_tmp_write": ("rows written to temporary tables", "{row}"),
    "Handler_update": ("rows updated", "{row}"),
    "Handler_write": ("rows inserted", "{row}"),
    "Innodb_buffer_pool_read_requests": ("pages asked of the buffer pool", "{page}"),
    "Innodb_buffer_pool_reads": ("of these, pages that were not in it", "{page}"),
    "Innodb_buffer_pool_write_requests": ("writes to pages in the buffer pool", "{write}"),
    "Innodb_data_fsyncs": ("fsync calls; commits in a group share one", "{call}"),
    "Innodb_data_read": ("bytes read from data files", "By"),
    "Innodb_data_reads": ("reads of data files", "{read}"),
    "Innodb_data_writes": ("writes to data files", "{write}"),
    "Innodb_data_written": ("bytes written to data files", "By"),
    "Innodb_deadlocks": ("deadlocks", "{deadlock}"),
    "Innodb_log_write_requests": ("pieces written to the log buffer", "{write}"),
    "Innodb_log_writes": ("writes of the log; commits in a group share one", "{write}"),
    "Innodb_lsn_current": ("bytes ever written to the log", "By"),
    "Innodb_max_trx_id": ("transactions that changed something", "{transaction}"),
    "Innodb_os_log_written": ("bytes written to the log", "By"),
    "Innodb_pages_created": ("pages created", "{page}"),
    "Innodb_pages_read": ("pages read from disk", "{page}"),
    "Innodb_pages_written": ("pages written to disk, later and in the background", "{page}"),
    "Innodb_row_lock_time": ("time that statements waited for row locks", "ms"),
    "Innodb_row_lock_waits": ("times that a statement waited for a row lock", "{wait}"),
    "Innodb_rows_deleted": ("rows deleted (MySQL; MariaDB has Handler_delete)", "{row}"),
    "Innodb_rows_inserted": ("rows inserted (MySQL; MariaDB has Handler_write)", "{row}"),
    "Innodb_rows_read": ("rows read (MySQL; MariaDB has Handler_read_*)", "{row}"),
    "Innodb_rows_updated": ("rows updated (MySQL; MariaDB has Handler_update)", "{row}"),
    "Max_used_connections": ("most connections at once since the start", "{connection}"),
    "Memory_used": ("memory of the server", "By"),
    "Open_files": ("files open now", "{file}"),
    "Open_tables": ("tables open now", "{table}"),
    "Opened_files": ("files opened", "{file}"),
    "Opened_tables": ("tables opened: the table cache did not have them", "{table}"),
    "Qcache_hits": ("statements answered by the query cache", "{statement}"),
    "Queries": ("statements, those inside stored programs too", "{statement}"),
    "Query_time": ("time spent in statements", "s"),
    "Questions": ("statements that clients sent", "{statement}"),
    "Rows_read": ("rows read from tables (MariaDB)", "{row}"),
    "Rows_sent": ("rows sent to clients (MariaDB)", "{row}"),
    "Rows_tmp_read": ("rows read from temporary tables (MariaDB)", "{row}"),
    "Select_full_join": ("joins that scanned a table for want of an index", "{statement}"),
    "Select_range_check": ("joins that looked for an index with every row", "{statement}"),
    "Select_scan": ("statements that scanned their first table", "{statement}"),
    "Slow_queries": ("statements that took longer than long_query_time", "{statement}"),
    "Sort_merge_passes": ("passes of sorts that did not fit their buffer", "{pass}"),
    "Sort_rows": ("rows sorted", "{row}"),
    "Table_locks_waited": ("times that a table lock had to be waited for", "{wait}"),
    "Threads_connected": ("connections open now", "{connection}"),
    "Threads_created": ("threads made for connections", "{thread}"),
    "Threads_running": ("connections that do something now", "{connection}"),
    "Uptime": ("seconds since the server started", "s"),
    "Uptime_since_flush_status": ("seconds since FLUSH STATUS, or since it started", "s"),
}
"""Meaning and unit of those that matter most, the 17 of os-collect-counters among them."""


class Family(NamedTuple):
    """Counters whose names begin alike; `meaning` names what the group of `rest` matches."""

    beginning: str
    rest: str
    meaning: str
    unit: str


ANY: Final = "(.*)"

FAMILIES: Final = (
    Family("Com_stmt_", ANY, "prepared statements of the binary protocol: {0}", "{call}"),
    Family("Com_", ANY, "{0} statements", "{statement}"),
    Family("Handler_", ANY, "calls of the storage engines' handlers: {0}", "{call}"),
    Family("Feature_", ANY, "times that something of this kind was used: {0}", "{use}"),
    Family(
        "Innodb_",
        "(data_(?:read|written)|.*_bytes.*|mem_.*|.*_size|lsn_.*|page_compression_saved)",
        "InnoDB: {0}",
        "By",
    ),
    Family("Innodb_", "((?:.*_)?pages_.*)", "InnoDB: {0}", "{page}"),
    Family("Innodb_", "(ibuf_(?:merged|discarded)_.*)", "InnoDB: {0}", "{operation}"),
    Family("Innodb_", "(.*_waits?)", "InnoDB: {0}", "{wait}"),
    Family("Innodb_", ANY, "InnoDB: {0}", "1"),
    Family("Connection_errors_", ANY, "connections that failed: {0}", "{error}"),
    Family("Performance_schema_", "(.*)_lost", "what found no room to be measured: {0}", "1"),
    Family("Aria_", ANY, "the Aria storage engine: {0}", "1"),
    Family("Key_", "(.*_requests)", "the key cache of MyISAM: {0}", "{request}"),
    Family("Key_", "(blocks_.*)", "the key cache of MyISAM: {0}", "{block}"),
    Family("Key_", ANY, "the key cache of MyISAM: {0}", "1"),
    Family("Qcache_", ANY, "the query cache: {0}", "1"),
    Family("Binlog_", "(bytes_.*)", "the binary log: {0}", "By"),
    Family("Binlog_", "((?:group_)?commits)", "the binary log: {0}", "{commit}"),
    Family("Binlog_", ANY, "the binary log: {0}", "1"),
    Family("Rpl_semi_sync_", ANY, "semi-synchronous replication: {0}", "1"),
    Family("Slave", "s?_(.*)", "replication, where this server is a replica: {0}", "1"),
    Family("Ssl_", ANY, "TLS: {0}", "1"),
    Family("Sort_", "(range|scan|priority_queue_sorts)", "sorts: {0}", "{sort}"),
    Family("Sort_", ANY, "sorts: {0}", "1"),
    Family("Select_", ANY, "how SELECT found its rows: {0}", "{statement}"),
    Family("Table_", "(open_cache_(?:hits|misses))", "tables: {0}", "{lookup}"),
    Family("Table_", ANY, "tables: {0}", "1"),
    Family(
        "",
        "(Delete|Update)_scan",
        "{0} statements that scanned their table",
        "{statement}",
    ),
    Family("Opened_", ANY, "opened since the start: {0}", "1"),
    Family("", "(Busy|Cpu)_time", "{0} time of the server's sessions", "s"),
    Family("Threads_", ANY, "threads: {0}", "{thread}"),
    Family("Acl_", ANY, "privileges in memory: {0}", "1"),
    Family("Mysqlx_", ANY, "the X protocol: {0}", "1"),
    Family("wsrep", "_?(.*)", "Galera: {0}", "1"),
    Family("", "([A-Z].*)", "{0}, as the server's manual says", "1"),
)
"""What a name's beginning says of the many that are not in the table; the first one counts."""


def fact_of(name: str) -> Fact:
    """What is known of a counter, by its name.

    >>> fact_of("Com_create_table").meaning
    'create table statements'
    """
    if name in _STATEMENT_MEANINGS:
        meaning, unit, exact = _STATEMENT_MEANINGS[name]
        return Fact(meaning, unit, exact=exact, from_zero=True)
    kind = Kind.GAUGE if GAUGES.fullmatch(name) else Kind.COUNTER
    exact = True if name in EXACT else False if name in INEXACT else None
    if name in TABLE:
        return Fact(*TABLE[name], kind, exact)
    for beginning, rest, meaning, unit in FAMILIES:
        # Compiling a pattern takes 0.1 ms: each has to wait for a name that begins so.
        if name.startswith(beginning) and (match := re.fullmatch(rest, name[len(beginning) :])):
            return Fact(meaning.format(match[1].replace("_", " ")), unit, kind, exact)
    return UNKNOWN._replace(kind=kind, exact=exact)
