"""Runs queries in threads, never on the event loop, and never more than may wait."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from nilometer.api.problems import Problem, Refusal, too_much
from nilometer.clock import elapsed_ns
from nilometer.errors import NilometerError

if TYPE_CHECKING:
    from collections.abc import Callable

Args = ParamSpec("Args")
Answer = TypeVar("Answer")

# DuckDB uses every core for one query; with a few at once a short one need not wait for long.
THREADS: Final = 4
# Sixteen that take a second each are answered within four; whoever comes then had better wait.
WAITING_MAX: Final = 16
RETRY_AFTER_S: Final = 2
ANSWER_S_MAX: Final = 60.0  # longer than any browser's or command's patience


class Queries:
    """A bounded pool.

    `observe` is told route and duration of each query that was run, `refused` the reason of
    each that was not, and what there is to say about it.
    """

    def __init__(
        self,
        *,
        observe: Callable[[str, int], None] = lambda *_: None,
        refused: Callable[[str, str], None] = lambda *_: None,
    ) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="nilometer-query")
        self._running = 0
        self._observe = observe
        self._refused = refused
        self._closing: list[Callable[[], None]] = []

    async def run(
        self,
        route: str,
        ask: Callable[Args, Answer],
        *args: Args.args,
        **named: Args.kwargs,
    ) -> Answer:
        """The answer; Refusal 503 if too many wait, it takes too long, or the store fails."""
        if self._running >= THREADS + WAITING_MAX:
            self._refused("overloaded", route)
            raise _later("too many queries wait already; ask again later")
        self._running += 1
        started_ns = elapsed_ns()
        job = self._pool.submit(partial(ask, *args, **named))
        job.add_done_callback(partial(self._done, asyncio.get_running_loop()))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(job), ANSWER_S_MAX)
        except TimeoutError:
            self._refused("slow-query", route)
            raise _later("the query took too long; ask for less time with since") from None
        except (NilometerError, OSError) as error:
            if isinstance(error, NilometerError) and error.slug == "store-too-much":
                self._refused("too-much", route)
                raise too_much(getattr(error, "parameter", "since"), str(error)) from None
            self._refused("store", f"{route}: {error}")
            raise _later(f"the store cannot be read: {error}") from None
        finally:
            self._observe(route, elapsed_ns() - started_ns)

    def _done(self, loop: asyncio.AbstractEventLoop, _job: Any) -> None:
        """A thread is free again; a query given up on holds its place until then."""
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._free)

    def _free(self) -> None:
        self._running -= 1

    @property
    def running(self) -> int:
        """How many run or wait, those that were given up on included."""
        return self._running

    def at_close(self, close: Callable[[], None]) -> None:
        """Have this called, too, when nothing is asked any more."""
        self._closing.append(close)

    def close(self) -> None:
        """Drop what waits; what runs is let go."""
        for close in self._closing:
            close()
        self._pool.shutdown(wait=False, cancel_futures=True)


def _later(detail: str) -> Refusal:
    problem = Problem(detail=detail, parameter=None, value=None, nearest=None, choices=None)
    return Refusal(503, problem, retry_after_s=RETRY_AFTER_S)
