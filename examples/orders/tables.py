"""The tables of both services: orders and stock, in one SQLite file each."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import ForeignKey, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

FOLDER = Path(os.environ.get("ORDERS_FOLDER", "."))
SKUS = [f"sku-{number:03d}" for number in range(50)]


class Table(DeclarativeBase):
    """What both services' tables are declared on."""


class Order(Table):
    """One customer's order."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str]
    cents: Mapped[int]
    lines: Mapped[list[Line]] = relationship(back_populates="order")


class Line(Table):
    """One article of an order."""

    __tablename__ = "lines"

    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"))
    sku: Mapped[str]
    pieces: Mapped[int]
    order: Mapped[Order] = relationship(back_populates="lines")


class Stock(Table):
    """How many pieces of an article are left, and what one costs."""

    __tablename__ = "stock"

    sku: Mapped[str] = mapped_column(primary_key=True)
    pieces: Mapped[int]
    cents: Mapped[int]


def database_url(name: str, driver: str = "sqlite") -> str:
    """The URL of one service's own database file."""
    return f"{driver}:///{FOLDER / name}.db"


def create() -> None:
    """Make both databases and fill them with a little to sell."""
    for name in ("orders", "stock"):
        engine = create_engine(database_url(name))
        with engine.connect() as connection:
            connection.exec_driver_sql("pragma journal_mode=wal")
        Table.metadata.create_all(engine)
        with Session(engine) as session:
            if name == "stock":
                session.add_all(Stock(sku=sku, pieces=10**6, cents=199) for sku in SKUS)
            else:
                session.add(
                    Order(customer="first", cents=199, lines=[Line(sku=SKUS[0], pieces=1)])
                )
            session.commit()
        engine.dispose()
