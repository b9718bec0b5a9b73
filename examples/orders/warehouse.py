"""The stock service: Starlette under uvicorn, with SQLAlchemy's asyncio engine on SQLite."""

from __future__ import annotations

import asyncio

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import nilometer
from examples.orders.tables import Stock, database_url

engine = create_async_engine(database_url("stock", "sqlite+aiosqlite"))
sessions = async_sessionmaker(engine, expire_on_commit=False)
reserved = nilometer.counter("stock.reserved", unit="{piece}", description="pieces taken")
left = nilometer.gauge("stock.left", unit="{piece}", description="pieces of the last article")


@nilometer.timer("stock.checking")
@nilometer.traced
async def check_customs(sku: str) -> str:
    """Stands for a slow neighbour: a millisecond of waiting, not of work."""
    await asyncio.sleep(0.001)
    return f"{sku} may leave"


async def reserve(request: Request) -> JSONResponse:
    sku = request.path_params["sku"]
    pieces = int((await request.json())["pieces"])
    async with sessions() as session:
        article = await session.scalar(select(Stock).where(Stock.sku == sku))
        if article is None:
            raise HTTPException(404, f"no article {sku}")
        await check_customs(sku)
        take = update(Stock).where(Stock.sku == sku).values(pieces=Stock.pieces - pieces)
        await session.execute(take)
        await session.commit()
        reserved.add(pieces)
        left.set(article.pieces)
        return JSONResponse({"cents": article.cents * pieces})


async def look(request: Request) -> JSONResponse:
    async with sessions() as session:
        article = await session.get(Stock, request.path_params["sku"])
    if article is None:
        raise HTTPException(404, "no such article")
    return JSONResponse({"sku": article.sku, "pieces": article.pieces})


app = Starlette(
    routes=[
        Route("/stock/{sku}", look),
        Route("/stock/{sku}/reserve", reserve, methods=["POST"]),
    ]
)
