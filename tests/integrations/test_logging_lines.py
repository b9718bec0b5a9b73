"""Lines by level, and the time that handlers take."""

from __future__ import annotations

import io
import logging
import logging.handlers
import queue
import subprocess
import sys
import textwrap
import threading

import pytest

from nilometer.export import log as our_export
from nilometer.integrations import logging_lines as ours
from nilometer.measure import REGISTRY
from tests.integrations.integration_kit import read


@pytest.fixture
def logger(registry):
    """A logger of nobody else's, that is measured."""
    made = logging.Logger("shop", logging.DEBUG)
    assert (ours.install(registry=registry), ours.install(registry=registry)) == (True, False)
    yield made
    ours.uninstall()


class Kept(logging.Handler):
    """Keeps what it is given."""

    def __init__(self, level=logging.NOTSET):
        super().__init__(level)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


def lines(readings):
    return readings.get("logging.lines", {})


def test_lines_that_some_handler_takes_are_counted_by_level(logger, registry):
    logger.addHandler(Kept(logging.INFO))
    logger.addHandler(Kept(logging.ERROR))
    logger.debug("for nobody")
    for _ in range(2):
        logger.info("for one")
    logger.error("for both")
    readings = read(registry)

    assert lines(readings) == {"log.level=INFO": 2, "log.level=ERROR": 1}
    assert readings["logging.handler"] == {"handler=Kept": 4}


def test_what_is_disabled_or_filtered_by_its_logger_is_no_line(logger, registry):
    logger.addHandler(Kept())
    logger.setLevel(logging.WARNING)
    logger.addFilter(lambda record: record.msg != "dropped")
    logger.info("disabled")
    logger.warning("dropped")

    assert lines(read(registry)) == {}


def test_handlers_of_parents_count_as_far_as_lines_propagate(logger, registry):
    child = logging.Logger("shop.orders", logging.DEBUG)
    child.parent = logger
    kept = Kept()
    logger.addHandler(kept)
    child.info("one")
    child.propagate = False
    child.info("two")

    assert (kept.lines, lines(read(registry))) == (["one"], {"log.level=INFO": 1})


def test_without_any_handler_the_last_resort_s_lines_count(logger, registry, capsys):
    logger.info("nobody sees this")
    logger.warning("seen")
    readings = read(registry)

    assert lines(readings) == {"log.level=WARNING": 1}
    assert readings["logging.handler"] == {"handler=_StderrHandler": 1}
    assert capsys.readouterr().err == "seen\n"


def test_a_handler_is_called_by_the_name_it_was_given(logger, registry):
    handler = Kept()
    handler.name = "access"
    logger.addHandler(handler)
    logger.info("one")

    assert read(registry)["logging.handler"] == {"handler=access": 1}


def test_a_level_has_the_name_that_it_was_given(logger, registry):
    logger.addHandler(Kept())
    logging.addLevelName(17, "NOTICE")
    logger.log(17, "named")
    logger.log(18, "not named")

    assert lines(read(registry)) == {"log.level=NOTICE": 1, "log.level=Level 18": 1}


class Failing(logging.Handler):
    def emit(self, record):
        raise OSError("disk full")


class Careful(logging.StreamHandler):
    """As the standard library's are: they tell `handleError`, and nobody else."""

    def format(self, record):
        raise KeyError("no such field")


def test_a_handler_that_raises_is_timed_counted_and_raises_as_before(logger, registry):
    logger.addHandler(Failing())
    with pytest.raises(OSError, match="disk full"):
        logger.info("lost")
    readings = read(registry)

    assert readings["logging.handler"] == {"handler=Failing": 1}
    assert readings["logging.handler.errors"] == {"error.type=OSError,handler=Failing": 1}


def test_a_line_that_a_handler_could_not_write_is_counted(logger, registry, capsys):
    logger.addHandler(Careful(io.StringIO()))
    logger.info("lost")
    readings = read(registry)

    assert readings["logging.handler"] == {"handler=Careful": 1}
    assert readings["logging.handler.errors"] == {"error.type=KeyError,handler=Careful": 1}
    assert "no such field" in capsys.readouterr().err


def test_a_line_through_a_queue_counts_once_and_both_its_handlers_are_timed(logger, registry):
    waiting, kept = queue.SimpleQueue(), Kept()
    listener = logging.handlers.QueueListener(waiting, kept)
    logger.addHandler(logging.handlers.QueueHandler(waiting))
    listener.start()
    logger.info("one")
    listener.stop()
    readings = read(registry)

    assert (kept.lines, lines(readings)) == (["one"], {"log.level=INFO": 1})
    assert readings["logging.handler"] == {"handler=QueueHandler": 1, "handler=Kept": 1}


def test_a_handler_that_logs_is_counted_for_each_line(logger, registry):
    inner = logging.Logger("inner")
    inner.addHandler(Kept())

    class Chatty(Kept):
        def emit(self, record):
            inner.warning("from inside")

    logger.addHandler(Chatty())
    logger.info("one")
    readings = read(registry)

    assert lines(readings) == {"log.level=INFO": 1, "log.level=WARNING": 1}
    assert readings["logging.handler"] == {"handler=Chatty": 1, "handler=Kept": 1}


def test_lines_of_our_own_exporter_are_neither_counted_nor_timed(logger, registry):
    kept = Kept()
    logger.addHandler(kept)
    logger.log(our_export.METRIC, "%s", "a reading", extra={our_export.MARK: True})
    of_ours = read(registry)
    logger.log(our_export.METRIC, "somebody else's at this level")
    of_others = read(registry)
    logger.log(our_export.METRIC, "%s", "a reading", extra={our_export.MARK: True})

    assert len(kept.lines) == 3
    assert (lines(of_ours), "logging.handler" in of_ours) == ({}, False)
    assert lines(of_others) == {"log.level=METRIC": 1}
    assert (ours._METRIC, ours._MARK) == (our_export.METRIC, our_export.MARK)
    assert read(registry) == {}


def test_lines_of_many_threads_are_counted_exactly(logger, registry):
    logger.addHandler(Kept())
    threads = [
        threading.Thread(target=lambda: [logger.info("x") for _ in range(500)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert lines(read(registry)) == {"log.level=INFO": 2000}


def test_at_level_off_lines_pass_untouched_while_the_process_runs(logger, registry):
    kept = Kept()
    logger.addHandler(kept)
    registry.set_level("integrations.logging_lines", "off")
    logger.info("one")
    logging.Logger("alone").debug("two")
    off = read(registry)
    registry.set_level("integrations.logging_lines", "basic")
    logger.info("three")

    assert (kept.lines, off) == (["one", "three"], {})
    assert lines(read(registry)) == {"log.level=INFO": 1}


def test_levels_and_handlers_that_are_remembered_are_bounded(logger, registry):
    handler = Kept()
    logger.addHandler(handler)
    for number in range(ours.KEPT_MAX + 10):
        handler.name = f"h{number}"
        logger.log(100 + number, "x")
    handler.name = "again"
    logger.info("x")

    assert sum(lines(read(registry)).values()) == ours.KEPT_MAX + 11


def test_uninstalling_leaves_nothing_behind(registry):
    places = [
        (logging.Logger, "callHandlers"),
        (logging.Handler, "handle"),
        (logging.Handler, "handleError"),
    ]
    before = [vars(owner)[name] for owner, name in places]
    ours.install(registry=registry)
    ours.uninstall()

    assert [vars(owner)[name] for owner, name in places] == before


GREEN = """
    {patch}
    import logging
    from nilometer.integrations import logging_lines
    from nilometer.measure import REGISTRY

    logging_lines.install()

    class Slow(logging.Handler):
        def emit(self, record):
            {sleep}(0.01)

    logger = logging.getLogger("shop")
    logger.addHandler(Slow())
    def work():
        for _ in range(3):
            logger.warning("x")
    workers = [{spawn}(work) for _ in range(5)]
    for worker in workers:
        {join}
    counted = {{r.name: r.value for r in REGISTRY.collect()[0]}}
    print(counted["logging.lines"], counted["logging.handler"].samples)
"""

GREENS = {
    "eventlet": {
        "patch": "import eventlet; eventlet.monkey_patch()",
        "sleep": "eventlet.sleep",
        "spawn": "eventlet.spawn",
        "join": "worker.wait()",
    },
    "gevent": {
        "patch": "from gevent import monkey; monkey.patch_all(); import gevent",
        "sleep": "gevent.sleep",
        "spawn": "gevent.spawn",
        "join": "worker.join()",
    },
}


@pytest.mark.parametrize("green", GREENS)
def test_lines_of_greenlets_that_wait_in_their_handlers_are_counted_exactly(green):
    code = textwrap.dedent(GREEN).format(**GREENS[green])
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )

    assert (ran.stdout.split(), ran.returncode) == (["15", "15"], 0), ran.stderr


def test_a_handler_that_was_made_by_halves_handles_as_without_us(logger, registry):
    class ByHalves(logging.Handler):
        def __init__(self):
            self.level, self.filters, self.lock = 0, [], threading.RLock()

        def emit(self, record):
            said.append(record.msg)

    said = []
    logger.handlers = [ByHalves()]
    logger.warning("hello")

    assert said == ["hello"]
    assert read(registry)["logging.handler"] == {"handler=ByHalves": 1}


class Unspeakable(str):
    """A name that nobody can say."""

    def __str__(self):
        raise RuntimeError("not yours")


@pytest.fixture
def _nothing_is_said_of_it(monkeypatch):
    """What is said of a fault of ours is a line, too, once in a process."""
    monkeypatch.setattr(ours.faults, "tell", lambda *_: None)


@pytest.mark.usefixtures("_nothing_is_said_of_it")
@pytest.mark.parametrize("name", [["a list"], Unspeakable("name")])
def test_a_handler_whose_name_cannot_be_told_handles_as_without_us(
    logger, registry, name, monkeypatch
):
    monkeypatch.setattr(logging, "raiseExceptions", False)  # or it writes to stderr what failed
    REGISTRY.collect()
    fine, careful = Kept(), Careful()
    for handler in (fine, careful):
        handler._name = name
        logger.addHandler(handler)
    logger.warning("hello")

    assert fine.lines == ["hello"]
    assert lines(read(registry)) == {"log.level=WARNING": 1}
    assert "reason=unreadable,what=attributes" in read(REGISTRY)["nilometer.lost"]


@pytest.mark.usefixtures("_nothing_is_said_of_it")
def test_a_line_whose_level_cannot_be_told_is_logged_as_without_us(logger, registry):
    REGISTRY.collect()
    logger.addHandler(handler := Kept())
    logging.addLevelName(19, Unspeakable("level"))
    try:
        logger.log(19, "hello")
    finally:
        logging.addLevelName(19, "Level 19")

    assert handler.lines == ["hello"]
    assert lines(read(registry)) == {}
    assert read(REGISTRY)["nilometer.lost"] == {"reason=unreadable,what=attributes": 1}
