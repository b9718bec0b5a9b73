"""Metrics: which there are, what tells their series apart, and their statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter

if TYPE_CHECKING:
    from nilometer.api.queries import Queries
    from nilometer.store.query import Reader


def router(reader: Reader, queries: Queries) -> APIRouter:
    """The routes under /metrics, and /losses."""
    return APIRouter(tags=["metrics"])
