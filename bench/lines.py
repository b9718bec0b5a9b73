"""A line that is logged to one handler, which does nothing with it."""

from __future__ import annotations

import logging
from types import FunctionType
from typing import TYPE_CHECKING, Any

from bench.http_clients import of_the_moment

if TYPE_CHECKING:
    from bench.pairs import Loop


def logged(*handlers: logging.Handler) -> Loop:
    """A loop of lines; a logger made before a peer instruments `logging` stays bare."""

    class Handler(logging.Handler):
        locals().update(of_the_moment(logging.Handler, "handle"))

        def emit(self, record: Any) -> None:
            return None

    functions = of_the_moment(logging.Logger, "callHandlers", "makeRecord")
    make = functions["makeRecord"]
    if isinstance(make, FunctionType):  # it asks its module for the factory of records
        functions["makeRecord"] = FunctionType(
            make.__code__,
            {**make.__globals__},
            argdefs=make.__defaults__,
            closure=make.__closure__,
        )
    logger = type("Logger", (logging.Logger,), functions)("orders", logging.INFO)
    for handler in (Handler(), *handlers):
        logger.addHandler(handler)

    def many(times: int) -> None:
        for number in range(times):
            logger.info("order %d is late", number)

    return many
