"""memcached's commands: the names that may become a dimension; every other is "OTHER"."""

from __future__ import annotations

from typing import Final

_COMMANDS: Final = """
add append cache_memlimit cas decr delete flush_all gat gats get gets incr prepend quit replace
set shutdown stats touch verbosity version
"""

COMMANDS: Final = frozenset(_COMMANDS.split())

MANY: Final = {
    "get_multi": "get",
    "set_multi": "set",
    "add_multi": "add",
    "delete_multi": "delete",
    "incr_multi": "incr",
    "get_stats": "stats",
}
"""Methods of clients that send one of these with several keys, or by another name."""
