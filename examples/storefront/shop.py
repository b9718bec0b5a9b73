"""The shop: orders in MariaDB, news of them on RabbitMQ."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import selectinload

from examples.storefront.tables import Article, Line, Order

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pika.adapters.blocking_connection import BlockingChannel
    from sqlalchemy.orm import Session

EVENTS = "storefront.events"  # a topic exchange: who bought what
CACHES = "storefront.caches_fanout"  # a fan-out exchange: every front end forgets what it kept


def declare(channel: BlockingChannel) -> None:
    """Make the exchanges, if they are not there."""
    channel.exchange_declare(EVENTS, "topic", durable=True)
    channel.exchange_declare(CACHES, "fanout", durable=True)


class SoldOutError(Exception):
    """There is not enough of an article left."""


class Shop:
    """Orders of one database, told to one broker."""

    def __init__(self, session: Session, channel: BlockingChannel) -> None:
        self._session = session
        self._channel = channel

    def place(self, customer: str, wanted: Mapping[int, int]) -> Order:
        """Order articles by id and quantity. Raises SoldOutError, then nothing is ordered."""
        query = select(Article).where(Article.id.in_(wanted)).with_for_update()
        articles = {article.id: article for article in self._session.scalars(query)}
        order = Order(customer=customer)
        for article_id, quantity in wanted.items():
            article = articles[article_id]
            if article.stock < quantity:
                self._session.rollback()
                raise SoldOutError(article.name)
            article.stock -= quantity
            order.lines.append(Line(article=article, quantity=quantity))
        self._session.add(order)
        self._session.commit()
        self._tell("order.placed", {"order": order.id, "customer": customer})
        self._forget(sorted(wanted))
        return order

    def cancel(self, order_id: int) -> None:
        """Take an order back, and its articles into stock."""
        order = self._session.get_one(Order, order_id, options=[self._with_articles()])
        for line in order.lines:
            line.article.stock += line.quantity
            self._session.delete(line)
        self._session.delete(order)
        self._session.commit()
        self._tell("order.cancelled", {"order": order_id})

    def bill(self, customer: str) -> int:
        """What all orders of a customer cost together, in cents."""
        query = select(Order).where(Order.customer == customer).options(self._with_articles())
        return sum(
            line.quantity * line.article.cents
            for order in self._session.scalars(query)
            for line in order.lines
        )

    def _with_articles(self) -> object:
        """Load an order's lines and their articles along, in two further statements."""
        return selectinload(Order.lines).selectinload(Line.article)

    def _tell(self, what: str, about: Mapping[str, object]) -> None:
        self._channel.basic_publish(EVENTS, what, json.dumps(about).encode())

    def _forget(self, article_ids: list[int]) -> None:
        """Have every front end forget these articles, in one message."""
        self._channel.basic_publish(CACHES, "", json.dumps(article_ids).encode())
