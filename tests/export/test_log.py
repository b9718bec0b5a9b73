"""``log://``: metrics are records of `logging`, sent anywhere by ordinary `logging.config`."""

from __future__ import annotations

import logging
import logging.config
import pickle
import socket
import struct

import pytest

from nilometer.export import Outlet, open_exporter
from nilometer.export.log import METRIC, MetricFilter, MetricFormatter
from nilometer.wire import logline


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """Each test configures logging; the next one must not notice."""
    root = logging.getLogger()
    names = ("nilometer.metrics", "shop")
    before = [(logging.getLogger(n), logging.getLogger(n).level) for n in names]
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    for logger, its_level in before:
        for handler in logger.handlers:
            handler.close()
        logger.handlers.clear()
        logger.setLevel(its_level)
        logger.propagate = True
        logger.disabled = False


@pytest.fixture
def udp():
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        yield sock


def configured(handler, *, propagate=False):
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"metric": {"()": "nilometer.export.log.MetricFormatter"}},
            "filters": {"metric": {"()": "nilometer.export.log.MetricFilter"}},
            "handlers": {"out": {"formatter": "metric", "filters": ["metric"], **handler}},
            "loggers": {
                "nilometer.metrics": {
                    "level": "METRIC",
                    "handlers": ["out"],
                    "propagate": propagate,
                }
            },
        }
    )


def test_the_level_is_registered_between_info_and_warning():
    assert logging.getLevelName(METRIC) == "METRIC"
    assert logging.INFO < METRIC < logging.WARNING


def test_lines_reach_a_file_and_read_back_exactly(make, tmp_path):
    file = tmp_path / "metrics.log"
    configured({"class": "logging.FileHandler", "filename": str(file)})
    batch = make.batch(readings=3, spans=2, events=1)

    open_exporter("log://")(batch)
    rows = [logline.decode(line) for line in file.read_text().splitlines()]

    assert tuple(r for one in rows for r in one.readings) == batch.readings
    assert tuple(s for one in rows for s in one.spans) == batch.spans
    assert tuple(e for one in rows for e in one.events) == batch.events


def test_lines_reach_syslog_over_udp(make, udp):
    configured(
        {
            "class": "logging.handlers.SysLogHandler",
            "address": udp.getsockname(),
            "facility": "local3",
        }
    )
    batch = make.batch(readings=1)

    open_exporter("log://")(batch)
    packet = udp.recv(65_536)
    priority, _, line = packet.partition(b">")

    assert priority == b"<%d" % (19 * 8 + 4)  # local3; a level syslog has no name for: warning
    assert logline.decode(line.rstrip(b"\x00").decode()).readings == batch.readings


def test_lines_reach_any_udp_listener_by_the_datagram_handler(make, udp):
    host, port = udp.getsockname()
    configured({"class": "logging.handlers.DatagramHandler", "host": host, "port": port})
    batch = make.batch(readings=1)

    open_exporter("log://")(batch)
    packet = udp.recv(65_536)
    record = logging.makeLogRecord(pickle.loads(packet[4:]))

    assert struct.unpack(">L", packet[:4])[0] == len(packet) - 4
    assert (record.levelno, record.nilometer_metric) == (METRIC, True)
    assert logline.decode(record.getMessage()).readings == batch.readings


def test_the_bare_line_goes_over_udp_by_our_handler(make, udp):
    host, port = udp.getsockname()
    configured({"()": "nilometer.export.log.LineHandler", "host": host, "port": port})
    batch = make.batch(readings=2)

    open_exporter("log://")(batch)
    lines = [udp.recv(65_536).decode() for _ in range(2)]

    assert tuple(logline.decode(line).readings[0] for line in lines) == batch.readings


def test_the_filter_lets_metric_records_through_and_nothing_else(make):
    kept, rest = logging.makeLogRecord({"nilometer_metric": True}), logging.makeLogRecord({})
    rest.levelno = METRIC  # a level that others may use, too

    assert [MetricFilter().filter(r) for r in (kept, rest)] == [True, False]
    assert [MetricFilter(invert=True).filter(r) for r in (kept, rest)] == [False, True]


def test_a_name_with_a_line_end_stays_one_line_of_the_log(make, tmp_path):
    file = tmp_path / "metrics.log"
    configured({"class": "logging.FileHandler", "filename": str(file)})
    hostile = make.batch(readings=1)
    hostile = hostile._replace(
        readings=(hostile.readings[0]._replace(name="a\nERROR forged %s %d"),)
    )

    open_exporter("log://")(hostile)

    (line,) = file.read_text().splitlines()
    assert logline.decode(line).readings == hostile.readings


def test_without_a_handler_batches_are_kept_and_said_once_not_printed_by_surprise(
    make, caplog, monkeypatch
):
    logging.getLogger("shop").propagate = False
    outlet = Outlet("log://shop", open_exporter("log://shop"))
    outlet.offer(make.batch(readings=3))
    for _ in range(3):
        outlet.hurry()
        outlet.deliver()

    assert (outlet.state.buffered, outlet.state.healthy) == (3, False)
    assert outlet.state.because == "logger shop has no handler yet"
    seen = []

    class Keep(logging.Handler):
        def emit(self, record):
            seen.append(record.getMessage())

    logging.getLogger("shop").addHandler(Keep())
    outlet.hurry()
    outlet.deliver()

    assert (len(seen), outlet.delivered) == (3, 3)


def test_a_logger_that_is_set_higher_refuses_and_the_loss_is_counted(make):
    logger = logging.getLogger("shop")
    logger.addHandler(logging.NullHandler())
    exporter = open_exporter("log://shop")
    logger.setLevel(logging.ERROR)
    outlet = Outlet("log://shop", exporter)

    outlet.offer(make.batch(readings=3, events=1))
    outlet.deliver()

    assert outlet.lost == {("readings", "log_level"): 3, ("events", "log_level"): 1}


def test_the_formatter_may_put_a_prefix_before_each_line():
    record = logging.makeLogRecord({"msg": "%s", "args": ("counter a value=1",)})

    assert (
        MetricFormatter(prefix="nilometer: ").format(record) == "nilometer: counter a value=1"
    )
