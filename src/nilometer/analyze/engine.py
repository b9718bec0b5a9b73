"""Who answers the SQL of questions: DuckDB in this process (`local`), or a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa

    from nilometer.store.places import Place
    from nilometer.store.stored import DataFile


class Lot(NamedTuple):
    """Files with rows of one table, which lie at one place; their paths begin there."""

    place: Place
    files: Sequence[DataFile]


class Engine(Protocol):
    """Answers SQL in DuckDB's dialect over files of tables."""

    def rows(
        self,
        text: str,
        views: Mapping[str, Sequence[Lot]],
        values: Mapping[str, object],
        tell: Callable[[str], None],
    ) -> pa.Table:
        """What the SQL gives over the files, each table a view of its name.

        Of the values those are bound that the SQL names. What is going on is told, now and
        then. Raises StoreError where files cannot be read, naming one; FileNotFoundError where
        one was taken away meanwhile, so that the question may be asked again of those of now.
        """
        ...

    def close(self) -> None:
        """Give back what the engine holds."""
        ...
