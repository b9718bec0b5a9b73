"""Who measured."""

from typing import NamedTuple

from nilometer.model.dimensions import AttributeValue


class Resource(NamedTuple):
    """Who measured: one process of one service on one host.

    `attributes` are further pairs, sorted by key; a tuple so that a resource can be hashed.
    """

    service: str = "unknown_service"
    host: str = ""
    pid: int = 0
    region: str = ""
    zone: str = ""
    version: str = ""
    attributes: tuple[tuple[str, AttributeValue], ...] = ()
