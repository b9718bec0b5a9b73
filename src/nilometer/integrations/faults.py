"""Our own faults inside of a service's calls: counted, said once, and the call goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from nilometer.measure import Registry

_said: Final[set[tuple[str, str]]] = set()


def ours(integration: str, what: str, error: Exception, registry: Registry) -> None:
    """Tell that this integration left something unmeasured, since we failed and nobody else.

    Of the error its class and place are told, and no word: it may quote what it was given.
    """
    registry.lost("integration", integration)
    if (integration, what) in _said:
        return
    _said.add((integration, what))
    from logging import getLogger  # 4 ms of import that only a failure needs

    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code.co_qualname if trace is not None else "C"
    line = trace.tb_lineno if trace is not None else 0
    getLogger("nilometer").warning(
        "integration %s fails, %s runs unmeasured: %s in %s, line %d [integration-fails]",
        integration,
        what,
        type(error).__name__,
        code,
        line,
    )
