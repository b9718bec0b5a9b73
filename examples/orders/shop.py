"""The order API: Flask under gunicorn. It asks the stock service and keeps orders in SQLite.

Nothing here sets Nilometer up: ``nilometer run -- gunicorn examples.orders.shop:app`` does. The
instruments below are made once, at import, and cost next to nothing when nobody asks for them.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
from flask import Flask, Response, abort, jsonify, request
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session, selectinload

import nilometer
from examples.orders.tables import Line, Order, database_url

if TYPE_CHECKING:
    from collections.abc import Iterator

STOCK_URL = os.environ.get("STOCK_URL", "http://127.0.0.1:8001")

app = Flask(__name__)
engine = create_engine(database_url("orders"))
stock = httpx.Client(base_url=STOCK_URL, timeout=5)
pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="pricing")

orders_placed = nilometer.counter(
    "orders.placed", unit="{order}", description="orders accepted"
)
pricing = nilometer.timer(
    "orders.pricing", description="asking the stock service for one price"
)
invoicing = nilometer.timer("orders.invoicing", level=nilometer.DETAIL)


@pricing
@nilometer.traced("price of an article")
def price_of(sku: str, pieces: int) -> int:
    """What so many pieces cost, in cents; reserves them."""
    answer = stock.post(f"/stock/{sku}/reserve", json={"pieces": pieces})
    answer.raise_for_status()
    return int(answer.json()["cents"])


@app.post("/orders")
def place() -> tuple[Response, int]:
    wanted: dict[str, int] = request.get_json()["lines"]
    cents = sum(pool.map(price_of, wanted.keys(), wanted.values()))
    with Session(engine) as session, nilometer.span("keep the order", articles=len(wanted)):
        lines = [Line(sku=sku, pieces=pieces) for sku, pieces in wanted.items()]
        order = Order(
            customer=request.headers.get("X-Customer", "nobody"), cents=cents, lines=lines
        )
        session.add(order)
        session.commit()
        number = order.id
    orders_placed.bind(articles=len(wanted)).add()
    nilometer.event("order.placed", order=number, cents=cents)
    return jsonify(id=number, cents=cents), 201


@app.get("/orders")
def newest() -> Response:
    with Session(engine) as session:
        orders = session.scalars(select(Order).order_by(Order.id.desc()).limit(20)).all()
        return jsonify([{"id": order.id, "cents": order.cents} for order in orders])


@app.get("/orders/<int:number>")
def one(number: int) -> Response:
    with Session(engine) as session:
        order = session.get(Order, number, options=[selectinload(Order.lines)])
        if order is None:
            abort(404)
        return jsonify(
            id=order.id, cents=order.cents, lines={x.sku: x.pieces for x in order.lines}
        )


@app.get("/orders/<int:number>/invoice")
def invoice(number: int) -> Response:
    """Sent line by line, so that the request is longer than the call of this function."""

    @invoicing
    def lines() -> Iterator[str]:
        with Session(engine) as session:
            for line in session.scalars(select(Line).where(Line.order_id == number)):
                time.sleep(0.0005)
                yield f"{line.pieces:6} x {line.sku}\n"

    return Response(lines(), mimetype="text/plain")


@app.get("/broken")
def broken() -> Response:
    raise RuntimeError("this request was asked to fail")
