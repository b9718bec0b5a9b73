"""eventlet's green threads: each starts in the span of whoever spawned it."""

from __future__ import annotations

from nilometer.trace.greenlets import install_eventlet, uninstall_eventlet

_is_installed = False


def install() -> bool:
    """Carry the current span into what is spawned from now on; False if already done."""
    global _is_installed
    if _is_installed:
        return False
    _is_installed = install_eventlet()
    return _is_installed


def uninstall() -> None:
    """Leave nothing behind."""
    global _is_installed
    if _is_installed:
        uninstall_eventlet()
        _is_installed = False
