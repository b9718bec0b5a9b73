"""SQLAlchemy 1.4 and 2: each statement timed, its connections and their pools.

    from nilometer.integrations import sqlalchemy

    sqlalchemy.install()             # every engine made from now on
    sqlalchemy.instrument(engine)    # this one, an AsyncEngine too

The methods by which a dialect executes are replaced on the engine's own dialect object, those
by which its pool serves on that pool. Event listeners would be the documented way, and cost
3.4 us a statement even when empty, and 2.7 after they have been removed. For the same reason an
error here ends the span of its own statement and no other: there is nothing to pair up.
"""

from __future__ import annotations

from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations import databases
from nilometer.integrations.databases import Instruments
from nilometer.integrations.patches import Patches
from nilometer.integrations.sqlalchemy_pools import EnginePools
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from nilometer.measure import Registry

EXECUTING: Final = ("do_execute", "do_executemany", "do_execute_no_params")

_patches: Final = Patches()
_measured: Final[dict[Registry, tuple[Instruments, EnginePools]]] = {}


def instrument(engine: Any, *, registry: Registry = REGISTRY) -> bool:
    """Measure this engine, an AsyncEngine too; False if it is measured already.

    AttributeError if this SQLAlchemy is built otherwise; then the engine is left as it was.
    """
    engine = getattr(engine, "sync_engine", engine)
    dialect = engine.dialect
    if isinstance(vars(dialect).get(EXECUTING[0]), databases.Execute):
        return False
    instruments, pools = _instruments(registry)
    attributes = {"server.address": engine.url.host, "db.namespace": engine.url.database}
    database = instruments.database(
        dialect.name, {name: str(told) for name, told in attributes.items() if told}
    )
    with database.patches:
        for method in EXECUTING:
            database.patches.swap(dialect, method, database.executing)
        database.patches.swap(dialect, "do_ping", pools.pinging(database))
        pools.watch(engine.pool, pool_name(engine), database)
    return True


def pool_name(engine: Any) -> str:
    """What its pool is called: as somebody named it, else where it leads; no user, no password.

    Pools of one name are one series. OpenTelemetry has it so: ``address:port/namespace``.
    """
    named = getattr(engine.pool, "_orig_logging_name", None)
    if named:
        return str(named)
    url = engine.url
    port = f":{url.port}" if url.port else ""
    return f"{url.host or url.get_backend_name()}{port}/{url.database or ''}"


def _instruments(
    registry: Registry,
    parameters: bool = False,
) -> tuple[Instruments, EnginePools]:
    found = _measured.get(registry)
    if found is None:
        from sqlalchemy.exc import TimeoutError as PoolTimeoutError

        instruments = Instruments("sqlalchemy", registry, parameters=parameters)
        found = _measured[registry] = instruments, EnginePools(instruments, PoolTimeoutError)
    return found


def install(*, registry: Registry = REGISTRY, parameters: bool = False) -> bool:
    """Measure every engine that is made from now on; False if that is done already.

    By the hook that SQLAlchemy calls with each engine: it reads the parameters of an engine's
    ``__init__``, so that may not be replaced.
    """
    if _patches.active:
        return False
    from sqlalchemy.engine.interfaces import Dialect

    _instruments(registry, parameters)  # now, where it may fail, not when an engine is made

    def measured(bound: Any) -> Any:
        original = bound.__func__

        def engine_created(dialect: type, engine: Any) -> None:
            original(dialect, engine)
            if not _patches.active:
                return
            try:
                instrument(engine, registry=registry)
            except Exception as error:  # noqa: BLE001  it serves all the same
                _instruments(registry)[0].failed("an engine", error)

        return classmethod(update_wrapper(engine_created, original))

    _patches.swap(Dialect, "engine_created", measured)
    return True


def uninstall() -> None:
    """Leave nothing behind: neither in SQLAlchemy nor in any engine."""
    _patches.undo()
    for instruments, pools in _measured.values():
        pools.end()
        instruments.end()
    _measured.clear()
