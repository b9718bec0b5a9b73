"""uWSGI where Python imports it, as pip's `pyuwsgi` does: measured as any other uWSGI."""

from __future__ import annotations

from nilometer.integrations.uwsgi import install, uninstall

__all__ = ["install", "uninstall"]
