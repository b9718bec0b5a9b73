"""The admin endpoint of one system: what it answers, put together.

A part of `assembly`, loaded by those who set `admin`. All that is measured is added up here
since the start, by whoever drains it: the pump at its intervals, the endpoint when it is asked
and every 5 s. What is told is therefore of the moment of the request, and the measured code
pays nothing for it.
"""

from __future__ import annotations

# A wrong level is answered with it, by the endpoint's thread: one that imports while another
# thread forks leaves the child a module lock that nobody lets go of.
import difflib as _asked_for_by_the_thread  # noqa: F401
import os
from typing import TYPE_CHECKING, Any, Final

from nilometer.clock import elapsed_ns
from nilometer.export.admin import Admin
from nilometer.export.admin_routes import Service, answer
from nilometer.export.health import Health
from nilometer.model.level import Level
from nilometer.setting_admin import tokens_of
from nilometer.wire.credentials import digests_of
from nilometer.wire.dropwizard import document
from nilometer.wire.dropwizard_names import JAVA_NAMES, Names
from nilometer.wire.dropwizard_totals import Totals

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nilometer.config import Settings
    from nilometer.export import Pump
    from nilometer.measure import Registry
    from nilometer.model import Reading
    from nilometer.model.endpoint import Endpoint

LOOK_S: Final = 2.0  # who asks waits so long for what drains, of which there is one at a time


class Desk:
    """Answers for a process from `start` to `stop`; `take` is given all that is drained."""

    def __init__(
        self, endpoint: Endpoint, settings: Settings, pump: Pump, registry: Registry
    ) -> None:
        self._pump = pump
        self._names = Names({**JAVA_NAMES, **settings.dropwizard_names})
        self.totals = Totals(elapsed_ns)
        self._lost = 0
        self._health = Health(pump, lambda: self._lost)
        origin = settings.origin("admin_token_file")
        service = Service(
            lambda: f"{settings.service}, process {os.getpid()}",
            self._metrics,
            self._health.checks,
            lambda: {p: level.name.lower() for p, level in registry.levels.said().items()},
            # Read here: the registry would tell the client in which of our files it was called.
            lambda prefix, level: registry.set_level(
                prefix, Level.of(level, origin="the body")
            ),
            digests_of(tokens_of(settings.admin_token_file, origin)),
        )
        self.admin = Admin(endpoint, lambda request: answer(service, request), self._step)

    def take(self, readings: Sequence[Reading]) -> None:
        """Add these; under the pump's lock."""
        self.totals.add(readings)
        lost = (r.value for r in readings if r.name == "nilometer.lost")
        self._lost += sum(value for value in lost if isinstance(value, int))

    @property
    def where(self) -> str:
        """The URL where it listens; empty while it does not."""
        host = self.admin.endpoint.host
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{self.admin.port}" if self.admin.port else ""

    def start(self) -> None:
        """Listen."""
        self.admin.start()

    def stop(self, timeout_s: float) -> None:
        """Listen no more; what was added up stays."""
        self.admin.stop(timeout_s)

    def reset_after_fork(self) -> None:
        """In a forked child: begin from zero, at another port."""
        self.totals = Totals(elapsed_ns)
        self._lost = 0
        self._health.reset_after_fork()
        self.admin.reset_after_fork()

    def _metrics(self) -> Mapping[str, Any] | None:
        return self._pump.look(
            lambda: document(self.totals.all(), self._names, self.totals.elapsed_s), LOOK_S
        )

    def _step(self) -> None:
        self._pump.look(self._health.step, LOOK_S)
