"""A shop with fresh tables for each test; the environment says where its servers are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pika
import pytest
from sqlalchemy import create_engine, delete
from sqlalchemy.orm import Session

from examples.storefront.shop import Shop, declare
from examples.storefront.tables import Article, Line, Order, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pika.adapters.blocking_connection import BlockingChannel
    from sqlalchemy import Engine


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The database at STOREFRONT_DATABASE."""
    made = create_engine(os.environ["STOREFRONT_DATABASE"])
    Table.metadata.create_all(made)
    yield made
    made.dispose()


@pytest.fixture(scope="session")
def channel() -> Iterator[BlockingChannel]:
    """The broker at STOREFRONT_BROKER."""
    connection = pika.BlockingConnection(pika.URLParameters(os.environ["STOREFRONT_BROKER"]))
    opened = connection.channel()
    declare(opened)
    opened.confirm_delivery()
    yield opened
    connection.close()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """A session on tables with 20 articles, ten of each, and nothing else."""
    with Session(engine) as opened:
        for table in (Line, Order, Article):
            opened.execute(delete(table))
        opened.add_all(
            Article(id=n, name=f"article {n}", cents=100 * n, stock=10) for n in range(1, 21)
        )
        opened.commit()
        yield opened


@pytest.fixture
def shop(session: Session, channel: BlockingChannel) -> Shop:
    """The shop."""
    return Shop(session, channel)
