"""The shop's tables."""

from __future__ import annotations

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Table(DeclarativeBase):
    """The root of all tables."""


class Article(Table):
    """What can be bought, and how much of it is left."""

    __tablename__ = "articles"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(60))
    cents: Mapped[int]
    stock: Mapped[int]


class Order(Table):
    """Who bought."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str] = mapped_column(String(60), index=True)
    lines: Mapped[list[Line]] = relationship(back_populates="order", order_by="Line.id")


class Line(Table):
    """How much of what."""

    __tablename__ = "order_lines"

    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"))
    article_id: Mapped[int] = mapped_column(ForeignKey("articles.id"))
    quantity: Mapped[int]
    order: Mapped[Order] = relationship(back_populates="lines")
    article: Mapped[Article] = relationship()
