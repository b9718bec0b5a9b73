"""The way out of the process: exporters chosen by URL, and the pump that feeds them.

Each name brings its module when it is first used: whoever only checks a URL needs no pump.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from nilometer.export.exporter import SCHEMES, Exporter, Undelivered, open_exporter
    from nilometer.export.outlet import Outlet
    from nilometer.export.pump import Pump

__all__ = ["Exporter", "Outlet", "Pump", "SCHEMES", "Undelivered", "open_exporter"]

_HOMES: Final = {
    "Exporter": "nilometer.export.exporter",
    "Outlet": "nilometer.export.outlet",
    "Pump": "nilometer.export.pump",
    "SCHEMES": "nilometer.export.exporter",
    "Undelivered": "nilometer.export.exporter",
    "open_exporter": "nilometer.export.exporter",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nilometer.export' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value  # found once: afterwards an ordinary attribute
    return value
