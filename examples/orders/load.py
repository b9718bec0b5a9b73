"""Requests of mixed kinds, from a few clients at once, in a fixed and seeded order."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx

from examples.orders.tables import SKUS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CLIENTS = 4

# What people do in a shop, in parts of a hundred.
MIX: dict[str, int] = {
    "newest": 40,
    "one": 25,
    "place": 15,
    "invoice": 12,
    "missing": 6,
    "broken": 2,
}


def basket(chance: random.Random, articles: int) -> dict[str, int]:
    """So many different articles, a few pieces of each."""
    return {sku: chance.randint(1, 9) for sku in chance.sample(SKUS, articles)}


def send_one(client: httpx.Client, kind: str, chance: random.Random) -> int:
    """One request of that kind; gives the status it was answered with."""
    if kind == "place":
        body = {"lines": basket(chance, chance.randint(1, 3))}
        return client.post("/orders", json=body).status_code
    path = {
        "newest": "/orders",
        "one": "/orders/1",
        "invoice": "/orders/1/invoice",
        "missing": "/orders/987654321",
        "broken": "/broken",
    }[kind]
    return client.get(path).status_code


def send(url: str, count: int, progress: Callable[[], object]) -> Counter[tuple[str, int]]:
    """Send `count` requests; how many of each kind got which status."""
    chance = random.Random(20)
    kinds = chance.choices(list(MIX), list(MIX.values()), k=count)
    answers: Counter[tuple[str, int]] = Counter()

    def client(share: list[str], seed: int) -> Counter[tuple[str, int]]:
        mine: Counter[tuple[str, int]] = Counter()
        own = random.Random(seed)
        with httpx.Client(base_url=url, timeout=30) as connection:
            for kind in share:
                mine[kind, send_one(connection, kind, own)] += 1
                progress()
        return mine

    with ThreadPoolExecutor(CLIENTS) as pool:
        shares = [kinds[number::CLIENTS] for number in range(CLIENTS)]
        for counted in pool.map(client, shares, range(CLIENTS)):
            answers += counted
    return answers


def send_signed(url: str, headers: Mapping[str, str]) -> int:
    """The one request that is to be traced: an order of three articles."""
    body = {"lines": basket(random.Random(7), 3)}
    return httpx.post(f"{url}/orders", json=body, headers=dict(headers), timeout=30).status_code
