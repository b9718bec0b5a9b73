"""Our own faults inside of a service's calls: counted, said once, and the call goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from nilometer.measure import Registry


class Fault:
    """What of this integration fails, why, and how often it did."""

    __slots__ = ("integration", "what", "because", "count")

    def __init__(self, integration: str, what: str, because: str) -> None:
        self.integration = integration
        self.what = what
        self.because = because
        self.count = 0


_known: Final[dict[tuple[str, ...], Fault]] = {}


def known() -> list[Fault]:
    """All of this process, each once; `nilometer.doctor` lists them."""
    return [*_known.copy().values()]


def ours(
    integration: str,
    what: str,
    error: Exception,
    registry: Registry,
    *,
    so: str = "runs unmeasured",
) -> None:
    """Count and tell that this integration left something undone, since we failed."""
    registry.lost("integration", integration)
    tell(integration, what, error, so=so)


def tell(
    integration: str, what: str, error: BaseException, *, so: str = "runs unmeasured"
) -> None:
    """Tell of it only, for those who count it themselves; what failed is now `so`.

    Of the error its class and place are told, and no word: it may quote what it was given.
    """
    fault = _known.get((integration, what))
    if fault is None:
        because = f"{type(error).__name__} in {_place(error)}"
        fault = _known[integration, what] = Fault(integration, what, because)
        from logging import getLogger  # 4 ms of import that only a failure needs

        getLogger("nilometer").warning(
            "integration %s fails, %s %s: %s [integration-fails]",
            integration,
            what,
            so,
            because,
        )
    fault.count += 1


def noted(integration: str, what: str, because: str, origin: str) -> Fault:
    """The fault of that origin, where several may fail at the same; whoever finds that it has
    not happened yet says it, too."""
    return _known.setdefault((integration, what, origin), Fault(integration, what, because))


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "C"
    return f"{trace.tb_frame.f_code.co_qualname}, line {trace.tb_lineno}"
