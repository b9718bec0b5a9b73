"""PyMySQL: statements and connects, where no SQLAlchemy is above it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nilometer.integrations.mysql import Mysql
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from nilometer.measure import Registry

_mysql: Final = Mysql("pymysql", opens_by="connect")


def install(*, registry: Registry = REGISTRY, parameters: bool = False) -> bool:
    """Measure all connections that are made from now on; False if that is done already."""
    from pymysql.connections import Connection

    return _mysql.install(Connection, registry, parameters)


def uninstall() -> None:
    """Leave nothing behind."""
    _mysql.uninstall()
