"""The program that `nilometer demo` measures: a shop of the standard library alone.

It knows nothing of collectors or exporters: it makes its instruments and is started by
`nilometer run`, like any program.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from wsgiref.simple_server import WSGIRequestHandler, make_server

import nilometer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

sold = nilometer.counter("shop.sold", unit="{piece}", description="Pieces sold.")
pricing = nilometer.timer("shop.pricing", description="Finding the price of an article.")
database = sqlite3.connect(":memory:", check_same_thread=False)
database.execute("create table article (name text primary key, cents integer)")
database.executemany(
    "insert into article values (?, ?)", [(f"a{n}", 100 + n) for n in range(50)]
)


@pricing
@nilometer.traced("price of an article")
def price_of(name: str) -> int:
    """One query; the work of a real shop is a nap of half a millisecond."""
    with nilometer.span("read the price", **{"db.system.name": "sqlite"}):
        row = database.execute("select cents from article where name = ?", (name,)).fetchone()
    time.sleep(0.0005)
    return int(row[0])


def shop(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """``/buy/a1/a2``: what these cost together; anything else is not found, /fail fails."""
    what, *articles = environ["PATH_INFO"].strip("/").split("/")
    if what == "fail":
        raise RuntimeError("this request was asked to fail")
    if what != "buy":
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"there is /buy/a1/a2/...\n"]
    cents = sum(price_of(article) for article in articles)
    sold.add(len(articles))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{cents / 100:.2f}\n".encode()]


class Quiet(WSGIRequestHandler):
    """No line per request on the terminal."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - inherited
        """Says nothing."""


if __name__ == "__main__":
    make_server("127.0.0.1", int(sys.argv[1]), shop, handler_class=Quiet).serve_forever()
