"""The id of the request that we are in: asked for, or given to whatever a function makes.

The specification of C's ``identified.h``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.trace.current import CURRENT

if TYPE_CHECKING:
    from collections.abc import Callable

NO_TRACE_ID: Final = "-"
"""Of what is made outside of any request."""


def current_trace_id() -> str | None:
    """The id of the request we are in, 32 hexadecimal digits; None outside any."""
    current = CURRENT.get()
    return None if current is None or current.over else current.trace_id


def identified(function: Callable[..., Any], /) -> Callable[..., Any]:
    """The function, of which whatever it makes gets a `trace_id`: that of the current request,
    or "-"."""

    def made(*args: Any, **kwargs: Any) -> Any:
        one = function(*args, **kwargs)
        one.trace_id = current_trace_id() or NO_TRACE_ID
        return one

    return made
