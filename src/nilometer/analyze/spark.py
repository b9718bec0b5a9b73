"""A Spark cluster: the same SQL in Spark's dialect, over the same files, with the same types.

The workers read the files, so their paths must lead there from each of them. Each file's
columns are looked at here before: a foreign one would be read as one of empty values. Which
columns and types an answer has, DuckDB says, asked the same of nothing.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pyarrow as pa

from nilometer.analyze.cluster import cluster_of, need_java, reach
from nilometer.analyze.damage import Shown, columns_of, damage_among, damaged, foreign_to
from nilometer.analyze.dialect import in_spark
from nilometer.analyze.local import Local
from nilometer.errors import ConfigError, EngineError, to_install
from nilometer.store.places import said
from nilometer.store.tables import FLOAT, FLOATS, TEXT, WHOLE, WHOLES, file_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nilometer.analyze.engine import Lot
    from nilometer.store.places import Place
    from nilometer.store.stored import DataFile

START_S: Final = 120.0
"""How long a session may take to begin. It takes 5 to 10 seconds; a driver gives up after 60
where the port is open, but no master answers."""

ALONE_S: Final = 60.0
"""How long a question waits without a single executor. One starts within seconds, and one that
is lost is replaced as soon."""

END_S: Final = 10.0

LOOKED_AT_ONCE: Final = 8

KINDS: Final = {
    TEXT: "STRING",
    WHOLE: "BIGINT",
    FLOAT: "DOUBLE",
    WHOLES: "ARRAY<BIGINT>",
    FLOATS: "ARRAY<DOUBLE>",
    pa.bool_(): "BOOLEAN",
    pa.binary(): "BINARY",
}

PREFIX: Final = "nilometer-spark-"


class Spark:
    """An engine that asks the cluster of that URL; one thread asks at a time.

    Raises ConfigError for what is no such URL. The cluster is looked for with the first
    question; `python` is what runs the process that holds the session, and `alone_s` how long
    a question waits without an executor.
    """

    def __init__(
        self, url: str, *, python: str | Path = sys.executable, alone_s: float = ALONE_S
    ) -> None:
        self._cluster = cluster_of(url)
        self._python = python
        self._alone_s = alone_s
        self._folder = TemporaryDirectory(prefix=PREFIX)
        self._log = Path(self._folder.name) / "log"
        self._process: subprocess.Popen[str] | None = None
        self._answers = 0

    def close(self) -> None:
        """Give the cluster's cores back, and end the session's process."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            with suppress(OSError):  # it ended before
                process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_S)
            _kill(process)  # with the Java that it started
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        self._folder.cleanup()

    def rows(
        self,
        text: str,
        views: Mapping[str, Sequence[Lot]],
        values: Mapping[str, object],
        tell: Callable[[str], None],
    ) -> pa.Table:
        """As every engine does. Raises EngineError where the cluster gives no answer."""
        self._look_at(views, tell)
        if self._process is None:
            self._process = self._started(tell)
        translated = in_spark(text, values)
        self._answers += 1
        answer = Path(self._folder.name) / f"{self._answers}.arrow"
        told = self._told(
            {
                "text": translated.text,
                "values": translated.values,
                "views": {name: _view(name, lots) for name, lots in views.items()},
                "answer": str(answer),
            },
            tell,
        )
        if "answered" not in told:
            self._fail(told, views)
        with pa.memory_map(str(answer)) as file, pa.ipc.open_stream(file) as stream:
            rows = stream.read_all()
        with closing(Local(memory_max="100MB")) as nothing:
            empty = nothing.rows(text, {name: [] for name in views}, values, lambda _: None)
        return rows.cast(empty.schema)

    def _look_at(self, views: Mapping[str, Sequence[Lot]], tell: Callable[[str], None]) -> None:
        """Raise StoreError for a file that is none of ours, FileNotFoundError for one gone."""
        listed = [
            (table, place, file)
            for table, lots in views.items()
            for place, files in lots
            for file in files
        ]
        tell(f"looking at {len(listed):,} files")
        with ThreadPoolExecutor(LOOKED_AT_ONCE, thread_name_prefix="nilometer-look") as pool:
            for wrong in pool.map(_wrong_with, listed):
                if wrong is not None:
                    raise wrong

    def _started(self, tell: Callable[[str], None]) -> subprocess.Popen[str]:
        need_java(self._cluster)
        tell(f"reaching {self._cluster.shown}")
        address = reach(self._cluster)
        with self._log.open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - ourselves
                [str(self._python), "-m", "nilometer.analyze.spark_session"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                # Spark would ask the host's name, which may be nobody's address.
                env={"SPARK_LOCAL_IP": address, **os.environ},
                start_new_session=True,  # so that it ends together with its Java
            )
        self._process = process
        late = Timer(START_S, _kill, (process,))
        late.name = "nilometer-late"
        late.daemon = True
        late.start()
        words = {
            "url": self._cluster.url,
            "is_connect": self._cluster.is_connect,
            "alone_s": self._alone_s,
        }
        try:
            told = self._told(words, tell)
            if late.finished.is_set():
                told = {"failed": "start", "said": f"nobody answered in {START_S:g} s"}
        finally:
            late.cancel()
            late.join()
        if "ready" not in told:
            self._fail(told, {})
        return process

    def _told(self, message: dict[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
        """What the session says to that in the end; what goes on meanwhile is told."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                told: dict[str, Any] = json.loads(line)
                if "tell" not in told:
                    return told
                tell(told["tell"])
        except OSError:
            pass  # it ended: its log says why
        return {"failed": "ended", "said": self._log.read_text(errors="replace")}

    def _fail(self, told: Mapping[str, str], views: Mapping[str, Sequence[Lot]]) -> NoReturn:
        """Raise what the session's words mean to who asked."""
        shown, why, kind = self._cluster.shown, _sentence(told["said"]), told["failed"]
        if kind == "missing":
            message = f"--engine: {shown!r} needs {told['said']}: {to_install('spark')}"
            raise ConfigError(message, slug="bad-parameter")
        if kind == "blind":
            raise self._blind(told.get("path", ""), why, views)
        if kind == "question":
            raise EngineError(
                f"{shown}: the question failed: {why}; nothing was answered",
                slug="engine-failed",
            )
        because = {
            "alone": f"it had no executor for {self._alone_s:g} s: its workers are gone, "
            "or have no core or no memory free",
            "gone": f"it went away: {why}",
            "start": f"no session began: {why}",
        }.get(kind, f"the session ended: {why}")
        raise EngineError(
            f"--engine: {shown}: {because}; nothing was answered; --engine local answers in "
            "this process",
            slug="engine-unreachable",
        )

    def _blind(self, path: str, why: str, views: Mapping[str, Sequence[Lot]]) -> Exception:
        """A file that no worker could read: gone, damaged, or not to be seen from there."""
        here = [
            Shown(table, f"{place.url}/{file.path}", place.path / file.path)
            for table, lots in views.items()
            for place, files in lots
            if place.path is not None
            for file in files
        ]
        found = damage_among(here)
        if found is not None:
            return found
        name = next((one.name for one in here if path.endswith(one.path.name)), path)
        return EngineError(
            f"{self._cluster.shown}: a worker cannot read {name or 'the files'}: {why}; each "
            "worker needs it under that path, on a shared disk or an object storage that the "
            "cluster is set up for; nothing was answered; --engine local reads it here",
            slug="engine-blind",
        )


def _kill(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):  # all of its group ended
        os.killpg(process.pid, signal.SIGKILL)


def _wrong_with(listed: tuple[str, Place, DataFile]) -> Exception | None:
    table, place, file = listed
    name = f"{place.url}/{file.path}"
    try:
        if place.path is not None:
            foreign = foreign_to(table, columns_of(place.path / file.path))
        else:
            with place.files().open_input_file(file.path) as source:
                foreign = foreign_to(table, columns_of(source))
    except FileNotFoundError as gone:
        return gone
    except (OSError, pa.ArrowException) as damage:
        return damaged(name, said(damage))
    return damaged(name, foreign) if foreign else None


def _view(table: str, lots: Sequence[Lot]) -> dict[str, object]:
    kinds = {each.name: KINDS[each.type] for each in file_schema(table)}
    empty = (f"CAST(NULL AS {kind}) AS `{name}`" for name, kind in kinds.items())
    return {
        "files": [_located(place, file) for place, files in lots for file in files],
        "columns": ", ".join(f"`{name}` {kind}" for name, kind in kinds.items()),
        "nothing": f"SELECT {', '.join(empty)} WHERE FALSE",
    }


_SIGNS: Final = re.compile(r"[{}\[\]*?\\]")


def _located(place: Place, file: DataFile) -> str:
    """A file as Spark finds it: the signs of patterns stand for themselves."""
    url = f"file://{place.path}" if place.path is not None else place.url
    if url.startswith("s3://"):
        url = "s3a" + url.removeprefix("s3")  # as Hadoop calls them
    return _SIGNS.sub(r"\\\g<0>", f"{url}/{file.path}")


_CONDITION: Final = re.compile(r"\[[A-Z][A-Z_0-9.]+\][^\n]*")
_CAUSE: Final = re.compile(r"^(?:Caused by: )?[\w.$]+(?:Exception|Error): [^\n]+", re.MULTILINE)


def _sentence(text: str) -> str:
    """Of what Spark said, pages at times, the line that says most."""
    found = _CONDITION.search(text) or _CAUSE.search(text)
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return said(ValueError(found[0] if found else lines[-1] if lines else "no word why"))
