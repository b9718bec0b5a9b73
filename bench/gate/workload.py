"""The fixed workload on which the gate was measured: inserts, selects, updates and deletes.

Four hundred rounds, shared out among four threads: each inserts a row, selects it twice; every
fifth updates it, every tenth deletes it. `n1` selects once more in every tenth round, which is
5 % more selects; `wide` writes five bytes more in a row.
"""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS: Final = 400
THREADS: Final = 4
KINDS: Final = ("base", "n1", "wide")
TEXT: Final = "x" * 40


def prepare(connect: Callable[[], Any]) -> None:
    """Make the table."""
    connection = connect()
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS items")
        cursor.execute("CREATE TABLE items (id INT PRIMARY KEY, v VARCHAR(90))")
    connection.commit()
    connection.close()


def run(connect: Callable[[], Any], kind: str) -> None:
    """The workload once, on an empty table, by four threads with a connection each."""
    failed: list[BaseException] = []

    def part(thread: int) -> None:
        try:
            _part(connect, kind, thread)
        except BaseException as error:  # told by whoever waits for the threads
            failed.append(error)

    connection = connect()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM items")
    connection.commit()
    connection.close()
    threads = [Thread(target=part, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def _part(connect: Callable[[], Any], kind: str, thread: int) -> None:
    connection = connect()
    text = TEXT + "y" * 5 if kind == "wide" else TEXT
    with connection.cursor() as cursor:
        for number in range(thread, ROUNDS, THREADS):
            cursor.execute("INSERT INTO items (id, v) VALUES (%s, %s)", (number, text))
            for _ in range(2 + (kind == "n1" and number % 10 == 0)):
                cursor.execute("SELECT v FROM items WHERE id = %s", (number,))
                cursor.fetchall()
            if number % 5 == 0:
                cursor.execute("UPDATE items SET v = %s WHERE id = %s", (text.upper(), number))
            if number % 10 == 0:
                cursor.execute("DELETE FROM items WHERE id = %s", (number,))
            connection.commit()
    connection.close()
