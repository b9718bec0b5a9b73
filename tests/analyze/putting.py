"""Questions put to batches: as logs are read, or as a collector stores them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from nilometer.analyze.asking import Wanted, ask, asked_of
from nilometer.analyze.engine import Lot
from nilometer.analyze.local import Local
from nilometer.analyze.questions import QUESTIONS
from nilometer.analyze.sources import Tables
from nilometer.analyze.writing import Writing
from nilometer.model import Resource, SpanKind, SpanRecord, Status
from nilometer.store.lake import Lake
from nilometer.store.places import Place
from nilometer.wire import jsonlines

NOW_NS = 1_795_000_000 * 10**9  # a Wednesday, 2026-11-18 11:06:40 UTC
MS = 10**6
S = 10**9
HOUR = 3600 * S
DAY = 24 * HOUR

ENGINE = Local(memory_max="500MB")


class Written:
    """A source of batches, each of them a delivery."""

    def __init__(self, batches, folder):
        self.skipped = {}
        self.place = Place.of(folder)
        writing = Writing(self.place)
        for batch in batches:
            writing.add(batch, jsonlines.encode(batch))
        writing.finish()
        self.files = writing.files

    def lots(self, table):
        return [Lot(self.place.inside(table), self.files.get(table, []))]


def answer(name, batches, wanted=Wanted(), **own):  # noqa: B008
    """The rows of a question's answer over these batches, as an engine reads logs."""
    question = QUESTIONS[name]
    asked = asked_of(question, wanted, {key.replace("_", "-"): v for key, v in own.items()})
    with TemporaryDirectory() as folder:
        source = Written(batches, folder)
        return ask(question, [source], ENGINE, asked, lambda _: None).to_pylist()


def stored(batches, folder: Path) -> str:
    """A store with these batches, appended one after the other."""
    lake = Lake(folder, durability="os")
    for batch in batches:
        lake.append([batch])
    return str(folder)


def answer_of_store(name, location, wanted=Wanted(), **own):  # noqa: B008
    """The same of a store, by an engine of its own."""
    question = QUESTIONS[name]
    asked = asked_of(question, wanted, own)
    with closing(Local(memory_max="500MB")) as engine:
        tables = Tables(Place.of(location))
        return ask(question, [tables], engine, asked, lambda _: None).to_pylist()


def span(number, parent=0, trace=1, name="op", started=0, took=MS, **told):
    """A span by small numbers: ids, and times after NOW_NS."""
    return SpanRecord(
        trace.to_bytes(16),
        number.to_bytes(8),
        parent.to_bytes(8) if parent else b"",
        name,
        told.get("kind", SpanKind.INTERNAL),
        NOW_NS + started,
        NOW_NS + started + took,
        told.get("attributes", {}),
        Status.ERROR if told.get("failed") else Status.UNSET,
    )


SHOP = Resource("shop", "h1", 7)
TILL = Resource("till", "h2", 8)
