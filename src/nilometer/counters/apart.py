"""Backends of one kind, told apart: two databases must not become one in a run."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nilometer.counters.backend import Backend
    from nilometer.counters.figures import Fact, Figures


class Placed:
    """A backend under its name and place; everything else is the backend's."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.name = f"{backend.name}@{backend.instance}"
        self.instance = backend.instance

    @property
    def settle_s(self) -> float:
        """By how much its figures may lag now: a database knows with each read only."""
        return self._backend.settle_s

    def read(self) -> Figures:
        """All its counters now."""
        return self._backend.read()

    def facts(self) -> Mapping[str, Fact]:
        """What is known of its counters."""
        return self._backend.facts()

    def close(self) -> None:
        """Let go of its connections."""
        self._backend.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


def apart(backends: Sequence[Backend]) -> list[Backend]:
    """The same backends, with their place in the name where there are several of one name."""
    names = Counter(backend.name for backend in backends)
    return [one if names[one.name] == 1 else Placed(one) for one in backends]
