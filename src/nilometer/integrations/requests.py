"""requests, which sends through urllib3: measured there, so that nothing is counted twice."""

from __future__ import annotations

from nilometer.integrations.urllib3 import install, uninstall

__all__ = ["install", "uninstall"]
