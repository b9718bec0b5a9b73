"""Garbage is left alone while a short command begins: what is imported is none."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def left_alone() -> Iterator[None]:
    """Nothing is searched for garbage in here: the search is a tenth of a short command."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
