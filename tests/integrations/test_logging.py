"""Log records that carry their request's id."""

import logging

import pytest

from nilometer.integrations import logging as ours
from nilometer.trace import Trace, start_root


@pytest.fixture(autouse=True)
def _factory_as_before():
    before = logging.getLogRecordFactory()
    yield
    ours.uninstall()
    logging.setLogRecordFactory(before)


def record():
    return logging.getLogger("any").makeRecord("any", logging.INFO, "f", 1, "text", (), None)


def test_each_record_has_the_id_of_its_request():
    assert (ours.install(), ours.install()) == (True, False)
    outside = record().trace_id
    with start_root("request", request=Trace(b"\xab" * 16)):
        inside = record().trace_id

    assert (outside, inside) == ("-", "ab" * 16)


def test_a_filter_does_the_same_for_one_handler():
    entry = record()

    assert ours.TraceIdFilter().filter(entry) is True
    assert entry.trace_id == "-"


def test_uninstalling_puts_the_factory_back():
    before = logging.getLogRecordFactory()
    ours.install()
    ours.uninstall()

    assert logging.getLogRecordFactory() is before


def test_a_factory_around_ours_stays():
    ours.install()
    inner = logging.getLogRecordFactory()

    def theirs(*args, **kwargs):
        return inner(*args, **kwargs)

    logging.setLogRecordFactory(theirs)
    ours.uninstall()

    assert logging.getLogRecordFactory() is theirs
