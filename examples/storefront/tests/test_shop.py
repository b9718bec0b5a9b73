"""What the shop promises its customers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from examples.storefront.shop import SoldOutError
from examples.storefront.tables import Article, Order

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from examples.storefront.shop import Shop


def stock(session: Session, article_id: int) -> int:
    session.expire_all()
    return session.get_one(Article, article_id).stock


def test_an_order_takes_its_articles_out_of_stock(shop: Shop, session: Session) -> None:
    shop.place("ada", {1: 2, 2: 3})

    assert (stock(session, 1), stock(session, 2)) == (8, 7)


def test_what_is_sold_out_cannot_be_ordered(shop: Shop, session: Session) -> None:
    with pytest.raises(SoldOutError, match="article 2"):
        shop.place("ada", {1: 2, 2: 11})

    assert stock(session, 1) == 10


def test_a_cancelled_order_gives_its_articles_back(shop: Shop, session: Session) -> None:
    order = shop.place("ada", {1: 2, 2: 3})

    shop.cancel(order.id)

    assert (stock(session, 1), stock(session, 2)) == (10, 10)
    assert session.get(Order, order.id) is None


@pytest.mark.parametrize("orders", [1, 5, 10])
def test_a_bill_adds_all_orders_of_a_customer(
    shop: Shop, session: Session, orders: int
) -> None:
    for number in range(orders):
        shop.place("grace", {number + 1: 1, number + 2: 1})
    session.expire_all()

    assert shop.bill("grace") == sum(100 * (2 * number + 3) for number in range(orders))


def test_nobody_pays_for_others(shop: Shop) -> None:
    shop.place("ada", {20: 1})
    shop.place("grace", {1: 1})

    assert shop.bill("grace") == 100


def test_who_bought_nothing_pays_nothing(shop: Shop) -> None:
    assert shop.bill("nobody") == 0
