"""The way out of the process: exporters chosen by URL, and the pump that feeds them."""

from nilometer.export.exporter import SCHEMES, Exporter, Undelivered, open_exporter
from nilometer.export.outlet import Outlet
from nilometer.export.pump import Pump

__all__ = ["Exporter", "Outlet", "Pump", "SCHEMES", "Undelivered", "open_exporter"]
