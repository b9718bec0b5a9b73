"""What a statement was given, for those who ask for it: it may be anybody's secret.

By OpenTelemetry's names, ``db.query.parameter.<key>``: a key is the parameter's name or its
place, from 0. Of a batch nothing is told, as OpenTelemetry has it.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

PREFIX: Final = "db.query.parameter."
PARAMETERS_MAX: Final = 20
"""Of one statement: nobody reads on."""
CHARS_MAX: Final = 256
"""Of one value; what is longer is data and no parameter."""

_BY_NAME: Final = ("params", "args", "parameters", "vars")
"""What drivers call it, where it is not the third argument: after a cursor and a statement."""


def takes_batches(execute: Callable[..., Any]) -> bool:
    """Whether a driver's function executes a statement with each of many sets of parameters.

    PEP 249 says which by its name.
    """
    return "many" in getattr(execute, "__name__", "")


def parameters_of(args: Sequence[Any], named: Mapping[str, Any]) -> dict[str, str]:
    """The parameters in the arguments of a driver's ``execute``, as attributes of a span.

    >>> parameters_of(("cursor", "SELECT %s, %s", (7, "red")), {})
    {'db.query.parameter.0': '7', 'db.query.parameter.1': 'red'}
    """
    if len(args) > 2:
        given = args[2]
    else:
        given = next((named[name] for name in _BY_NAME if name in named), None)
    return {
        PREFIX + str(key): _shown(value) for key, value in islice(_pairs(given), PARAMETERS_MAX)
    }


def _pairs(given: Any) -> Iterable[tuple[object, object]]:
    if isinstance(given, dict):
        return given.items()
    return enumerate(given) if isinstance(given, list | tuple) else ()


def _shown(value: object) -> str:
    if isinstance(value, str):
        return value[:CHARS_MAX]
    try:
        if isinstance(value, bytes | bytearray | list | tuple) and len(value) > CHARS_MAX:
            value = value[:CHARS_MAX]  # each takes a character at least; there may be 50 MB
        return repr(value)[:CHARS_MAX]
    except Exception:  # noqa: BLE001  a value that cannot be shown must not stop a statement
        return f"<{type(value).__name__}>"
