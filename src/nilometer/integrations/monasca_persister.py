"""Monasca's persister: messages received, completed, dropped and duplicated, and their times.

The service is several processes of one parent: each processor measures itself. Where one ends
without having sent its last readings, whoever is left says that they are lost: the parent, or,
where a ``state`` folder is set, the service's next start.
"""

from __future__ import annotations

from functools import partial
from logging import getLogger
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from nilometer.integrations import faults
from nilometer.integrations.calls import Depth
from nilometer.integrations.monasca_ending import call_before_the_end
from nilometer.integrations.monasca_ledger import Ledger
from nilometer.integrations.monasca_processor import Meters, Processor
from nilometer.integrations.patches import Patches, expect
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nilometer.measure import Registry

log = getLogger("nilometer")

NUMBER: Final = "_nilometer_processor"
"""Where a process that is to be started has its number among those of its topic."""

END_S: Final = 1.0
"""How long a processor may take to be gone that was sent SIGKILL; a wait, not a need."""

_patches: Final = Patches()


def install(
    *,
    registry: Registry = REGISTRY,
    state: str = "",
    flush: Callable[[], bool] = lambda: False,
) -> bool:
    """Measure every persister that runs from now on; False if that is done already.

    `state` is the folder that outlives the service, `flush` sends what was measured and says
    whether all of it was taken. AttributeError if this persister is another.
    """
    if _patches.active:
        return False
    from monasca_persister import persister as service
    from monasca_persister.kafka.confluent_kafka_persister import ConfluentKafkaPersister
    from monasca_persister.repositories import persister as repositories

    expect(service.prepare_processes, "conf", "repo_driver")
    expect(service.clean_exit, "signum")
    expect(repositories.Persister.__init__, "self", "kafka_conf", "repository")
    persisters = Persisters(registry, state, flush)
    _patches.also_end(persisters)
    with _patches:
        _patches.replace(service, "prepare_processes", partial(persisters.preparing, service))
        _patches.replace(service, "clean_exit", partial(persisters.ending, service))
        for name, measured in (
            ("__init__", persisters.making),
            ("run", persisters.running),
            ("_flush", persisters.flushing),
        ):
            _patches.replace(repositories.Persister, name, measured)
        _patches.swap(repositories, "os", persisters.exiting)
        _patches.swap(ConfluentKafkaPersister, "flush", persisters.revoking)
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()


class Persisters:
    """All persisters of this process; in the parent of the processors, what these share."""

    def __init__(self, registry: Registry, state: str, flush: Callable[[], bool]) -> None:
        self.depth = Depth("monasca_persister", registry)
        self._registry = registry
        self._meters = Meters(registry)
        self._state = state
        self._flush = flush
        self._ledgers: dict[tuple[str, str], Ledger] = {}
        self._groups: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
        self._processors: dict[Any, Processor] = {}
        self._lives: list[tuple[Ledger, int]] = []  # of this process

    def end(self) -> None:
        """Leave every persister as it was."""
        self.depth.end()
        self._processors.clear()

    # ---- the parent ----------------------------------------------------------------------

    def preparing(self, service: Any, original: Callable[..., Any]) -> Callable[..., Any]:
        """To replace `prepare_processes`, which makes the processors of one topic."""

        def prepare_processes(conf: Any, repo_driver: Any) -> Any:
            before = len(service.processors)
            prepared = original(conf, repo_driver)
            self._ledger(getattr(conf, "group_id", ""), conf.topic)
            for number, process in enumerate(service.processors[before:]):
                vars(process)[NUMBER] = number
            return prepared

        return prepare_processes

    def ending(self, service: Any, original: Callable[..., Any]) -> Callable[..., Any]:
        """To replace `clean_exit`, after which no processor lives any more."""

        def clean_exit(signum: int, frame: Any = None) -> Any:
            try:
                return original(signum, frame)
            except SystemExit as exits:
                ends = exits
            self._wait_for(service.processors)
            raise ends

        return clean_exit

    def _wait_for(self, processes: Iterable[Any]) -> None:
        """Say what those left unsaid that have been killed."""
        for process in processes:
            process.join(END_S)
        for ledger in self._ledgers.values():
            self._say_lost(ledger, ledger.alive())

    def _say_lost(self, ledger: Ledger, left: dict[int, int]) -> None:
        for processor, pid in left.items():
            ledger.goodbye(processor)
            self._registry.lost("interval", "process_killed")
            log.warning(
                "processor %d of the persister (process %d) ended without a goodbye: what it "
                "measured since its last report that was taken is lost [interval-lost]",
                processor,
                pid,
            )

    def _ledger(self, group: str, topic: str) -> Ledger:
        known = self._ledgers.get((group, topic))
        if known is None:
            known = self._ledgers[group, topic] = self._opened(group, topic)
            self._say_lost(known, known.left)
        return known

    def _opened(self, group: str, topic: str) -> Ledger:
        if self._state:
            try:
                return Ledger.in_file(self._state, group, topic)
            except OSError as error:
                self._registry.lost("state", type(error).__name__)
                log.warning(
                    "what the persister completed is not kept in %s, and redelivery after a "
                    "restart not known: %s [state-unusable]",
                    self._state,
                    error,
                )
        return Ledger.in_memory()

    # ---- a processor ---------------------------------------------------------------------

    def making(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """To replace `__init__`, which is given what the consumer's group is."""

        def made(persister: Any, kafka_conf: Any, repository: Any) -> None:
            original(persister, kafka_conf, repository)
            self._groups[persister] = getattr(kafka_conf, "group_id", "")

        return made

    def running(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """To replace `run`, which consumes until the process ends."""

        def run(persister: Any) -> Any:
            undo = self._begin(persister)
            try:
                return original(persister)
            finally:
                undo()
                self._say_goodbye()  # who is interrupted ends, and was not killed

        return run

    def _begin(self, persister: Any) -> Callable[[], None]:
        from multiprocessing.process import current_process

        try:
            group, topic = self._groups.get(persister, ""), persister._kafka_topic
            ledger, number = self._ledger(group, topic), vars(current_process()).get(NUMBER, 0)
            processor = Processor(self._meters, persister, ledger, group, number)
        except Exception as error:  # noqa: BLE001  the persister runs, unmeasured
            faults.ours("monasca_persister", "a processor", error, self._registry)
            return lambda: None
        self._processors[persister] = processor
        self.depth.switch(processor)
        ledger.begin(number)
        self._lives.append((ledger, number))
        return call_before_the_end(self._say_goodbye)

    def flushing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """To replace `_flush`, which is called often and mostly has something to do."""

        def _flush(persister: Any) -> None:
            processor = self._processors.get(persister)
            if processor is None or not processor.on or not persister._data_points:
                original(persister)
            else:
                processor.flush(original)

        return _flush

    def revoking(self, original: Callable[..., Any]) -> Any:
        """To replace `flush`, which Kafka's client calls before it gives partitions away."""

        def flush(kafka_consumer: Any, partitions: Any) -> None:
            original(kafka_consumer, partitions)
            for processor in self._processors.values():
                if processor.redelivery is not None:
                    processor.redelivery.begin_anew()

        return staticmethod(flush)

    def exiting(self, original: Any) -> Any:
        """To replace the module `os`, of which a persister that fails wants `_exit` alone."""
        return _Exiting(original, self._say_goodbye)

    def _say_goodbye(self) -> None:
        """Send the last readings; who could not has said no goodbye."""
        try:
            if self._flush():
                for ledger, number in self._lives:
                    ledger.goodbye(number)
        except Exception as error:  # noqa: BLE001  the process ends all the same
            log.debug("no goodbye: %r", error)


class _Exiting:
    """A module `os` that calls a function before it ends the process."""

    def __init__(self, original: Any, ended: Callable[[], None]) -> None:
        self._original = original
        self._ended = ended

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def _exit(self, status: int) -> None:
        self._ended()
        self._original._exit(status)
