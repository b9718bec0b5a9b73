"""Threads and processes that run where they are started, as a call of what they are given.

To start one takes a hundred times what an integration adds, or a thousand, and what it adds
over there is in no time of the thread that started it. What is made before a peer instruments
the library stays bare: its class keeps the functions of that moment.
"""

from __future__ import annotations

import multiprocessing.process
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.pairs import Loop


def work() -> None:
    """What a thread, a process and a pool do."""


@cache
def threads_run_here() -> None:
    """Let threads that do `work` run in their ``start``; all others are threads as ever."""
    threads: Any = threading.Thread
    really = threads.start

    def start(thread: Any) -> None:
        if thread._target is work:
            thread.run()
        else:
            really(thread)

    threads.start = start


def thread_starts() -> Loop:
    """A loop of threads that are made and started."""
    threads_run_here()

    class Thread(threading.Thread):
        start = threading.Thread.start
        run = threading.Thread.run

    def many(times: int) -> None:
        for _ in range(times):
            Thread(target=work).start()

    return many


class Ended:
    """Stands for a child that ended well."""

    def poll(self) -> int:
        return 0


@cache
def processes_run_here() -> None:
    """Let processes run in their ``start``, as a fork would: inside of what was current."""
    processes: Any = multiprocessing.process.BaseProcess

    def start(process: Any) -> None:
        process._popen = Ended()
        process._bootstrap()

    def bootstrap(process: Any) -> int:
        process.run()
        return 0

    def join(process: Any) -> None:
        pass

    processes.start, processes._bootstrap, processes.join = start, bootstrap, join


def process_starts() -> Loop:
    """A loop of processes that are made, started and joined."""
    processes_run_here()
    base: Any = multiprocessing.process.BaseProcess
    kept = {name: getattr(base, name) for name in ("start", "_bootstrap", "join")}
    processes: Any = type("Process", (base,), kept)

    def many(times: int) -> None:
        for _ in range(times):
            process = processes(target=work)
            process.start()
            process.join()

    return many


def copied(function: Any) -> Any:
    """A function apart from the library's: ddtrace changes the code of that where it is."""
    if type(function) is not FunctionType:  # OpenTelemetry's wrapper says that it is one
        return function
    code, names, name = function.__code__, function.__globals__, function.__name__
    return FunctionType(code, names, name, function.__defaults__, function.__closure__)


def pool_submits() -> Loop:
    """A loop of works that are submitted to a pool of threads, and run by it."""

    class Pool(ThreadPoolExecutor):
        submit = copied(ThreadPoolExecutor.submit)

        def _adjust_thread_count(self) -> None:
            """Where a thread would be started, or is free."""
            self._work_queue.get_nowait().run()

    pool = Pool()

    def many(times: int) -> None:
        for _ in range(times):
            pool.submit(work)

    return many
