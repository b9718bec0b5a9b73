"""A key that signs and verifies, by whichever twin was chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nilometer.twin import choose

if TYPE_CHECKING:
    from nilometer.trace.key_pure import Key
else:
    Key = choose("nilometer.trace.key_pure", "nilometer.trace._core").Key

__all__ = ["Key"]
