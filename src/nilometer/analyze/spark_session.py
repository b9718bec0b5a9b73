"""The process that holds a session with a Spark cluster, and asks it what it is told to.

`spark` starts it and talks with it in lines of JSON: the cluster comes first, then questions;
back come what is going on, and for each question where its answer lies, or why there is none.
It is a process of its own, as Spark's driver writes where it likes, cannot be stopped from
within while it waits, and must end with whoever asked. When its standard input ends, so does
all of it.
"""

from __future__ import annotations

import json
import os
import re
import sys
from queue import Queue
from threading import Event, Thread
from typing import IO, TYPE_CHECKING, Any, Final

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SETTINGS: Final = {
    "spark.sql.ansi.enabled": "true",  # what does not fit is an error, as in DuckDB
    "spark.sql.caseSensitive": "false",
    "spark.sql.decimalOperations.allowPrecisionLoss": "false",
    "spark.sql.files.ignoreCorruptFiles": "false",
    "spark.sql.files.ignoreMissingFiles": "false",
    "spark.sql.parser.escapedStringLiterals": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.variable.substitute": "false",
}
"""Whatever a cluster has for defaults: with these a question gives what it gives in DuckDB."""

DRIVER: Final = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}

LOOK_S: Final = 0.5

TRIES: Final = 6
"""Of a call to a server of Spark Connect, longer apart each time: a minute all together."""

_BLIND: Final = (
    *("FAILED_READ_FILE", "PATH_NOT_FOUND", "CANNOT_READ_FILE", "FileNotFoundException"),
    *("UNSUPPORTED_FILESYSTEM", "No FileSystem for scheme", "fs.s3a", "AccessControlException"),
)
_GONE: Final = (
    *("SparkContext was shut down", "stopped SparkContext", "Master removed our application"),
    *("All masters are unresponsive", "StatusCode.UNAVAILABLE", "failed to connect to all"),
    *("Connection refused", "RETRIES_EXCEEDED", "SESSION_CLOSED", "session is closed"),
)
_PATH: Final = re.compile(r"\b[a-z0-9]+:/[^\n]*?\.parquet")


class Session:
    """A session with a cluster, in which one question is asked at a time.

    A question that has no executor for `alone_s` is given up.
    """

    def __init__(
        self, url: str, *, is_connect: bool, alone_s: float, tell: Callable[[str], None]
    ) -> None:
        from pyspark.sql import SparkSession

        self._alone_s = alone_s
        self._tell = tell
        self._is_connect = is_connect
        self.is_alone = False
        if is_connect:
            self._spark = SparkSession.builder.remote(url).getOrCreate()
            self._be_impatient()
            self._spark.registerProgressHandler(self._heard)
        else:
            builder = SparkSession.builder.master(url).appName("nilometer analyze")
            for name, value in DRIVER.items():
                builder = builder.config(name, value)
            self._spark = builder.getOrCreate()
        for name, value in SETTINGS.items():
            self._spark.conf.set(name, value)

    def _be_impatient(self) -> None:
        from pyspark.sql.connect.client.retries import DefaultPolicy

        self._spark.client.set_retry_policies([DefaultPolicy(max_retries=TRIES)])

    def close(self) -> None:
        """Give the cluster's cores back."""
        self._spark.stop()

    def answer(self, asked: dict[str, Any]) -> pa.Table:
        """What the SQL gives over the files."""
        for name, view in asked["views"].items():
            if view["files"]:
                # Paths are read as patterns, whose signs the other side has escaped.
                rows = self._spark.read.schema(view["columns"]).parquet(*view["files"])
            else:
                rows = self._spark.sql(view["nothing"])
            rows.createOrReplaceTempView(name)
        done = Event()
        looking = Thread(target=self._look, args=(done,), daemon=True)
        if not self._is_connect:
            looking.start()
        try:
            return self._spark.sql(asked["text"], args=asked["values"]).toArrow()
        finally:
            done.set()

    def _look(self, done: Event) -> None:
        """Tell how far the question is, and end it where no executor is left to work on it."""
        context = self._spark.sparkContext
        tracker, alone = context.statusTracker(), 0.0
        while not done.wait(LOOK_S):
            stages = [tracker.getStageInfo(one) for one in tracker.getActiveStageIds()]
            found = [one for one in stages if one is not None]
            self._say(
                sum(one.numCompletedTasks for one in found),
                sum(one.numTasks for one in found),
            )
            executors = context._jsc.sc().getExecutorMemoryStatus().size() - 1
            alone = alone + LOOK_S if found and not executors else 0
            if alone >= self._alone_s:
                self.is_alone = True
                context.cancelAllJobs()

    def _heard(self, stages: Iterable[Any] | None, **_: object) -> None:
        found = list(stages or ())
        self._say(
            sum(one.num_completed_tasks for one in found), sum(one.num_tasks for one in found)
        )

    def _say(self, completed: int, tasks: int) -> None:
        if tasks:
            self._tell(f"asking: {completed} of {tasks} tasks done")


def _failed(error: BaseException, session: Session | None) -> dict[str, str]:
    """Why there is no answer: what kind of fault it is, and what Spark said."""
    text = str(error)
    if isinstance(error, ModuleNotFoundError):
        return {"failed": "missing", "said": error.name or text}
    if session is not None and session.is_alone:
        return {"failed": "alone", "said": ""}
    if any(word in text for word in _GONE):
        return {"failed": "gone", "said": text}
    if any(word in text for word in _BLIND):
        path = _PATH.search(text)
        return {"failed": "blind", "said": text, "path": path[0] if path else ""}
    return {"failed": "question" if session else "start", "said": text}


def main() -> None:
    """Answer until the standard input ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever Java writes is no reply

    def reply(**told: object) -> None:
        replies.write(json.dumps(told) + "\n")
        replies.flush()

    lines: Queue[str] = Queue()
    busy = Event()
    Thread(target=_read, args=(sys.stdin, lines, busy), daemon=True).start()
    session: Session | None = None
    try:
        cluster = json.loads(lines.get())
        session = Session(**cluster, tell=lambda text: reply(tell=text))
    except BaseException as error:  # noqa: BLE001 - told, whatever it is
        reply(**_failed(error, None))
        return
    reply(ready=True)
    while line := lines.get():
        busy.set()
        asked = json.loads(line)
        try:
            rows = session.answer(asked)
            with (
                pa.OSFile(asked["answer"], "wb") as file,
                pa.ipc.new_stream(file, rows.schema) as writer,
            ):
                writer.write_table(rows)
        except BaseException as error:  # noqa: BLE001 - told, whatever it is
            reply(**_failed(error, session))
        else:
            reply(answered=asked["answer"])
        busy.clear()
    session.close()


def _read(source: IO[str], lines: Queue[str], busy: Event) -> None:
    """Hand lines on, and an empty one at their end: nobody waits for an answer any more."""
    for line in source:
        lines.put(line)
    if busy.is_set():
        os._exit(1)
    lines.put("")


if __name__ == "__main__":
    main()
