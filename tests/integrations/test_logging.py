"""Log records that carry their request's id."""

import copy
import logging
import pickle
import threading
from importlib import import_module

import pytest

from nilometer.integrations import logging as ours
from nilometer.trace import Trace, start_root
from nilometer.trace.current import Joined

TWINS = {"python": "nilometer.trace.pure", "c": "nilometer.trace._core"}


@pytest.fixture(autouse=True, params=TWINS)
def _as_before(request, monkeypatch):
    """Each test on both twins."""
    before = logging.getLogRecordFactory(), logging.Logger.makeRecord
    monkeypatch.setattr(ours, "identified", import_module(TWINS[request.param]).identified)
    yield
    ours.uninstall()
    logging.setLogRecordFactory(before[0])
    logging.Logger.makeRecord = before[1]


@pytest.fixture
def logger():
    """A logger whose lines are in `lines`, formatted with their id."""
    made = logging.Logger("shop", logging.INFO)
    made.lines = []

    class Handler(logging.Handler):
        def emit(self, record):
            made.lines.append(self.format(record))

    made.addHandler(Handler())
    return made


def say(logger, fmt="%(trace_id)s %(message)s", style="%", **extra):
    logger.handlers[0].setFormatter(logging.Formatter(fmt, style=style))
    logger.info("text", **extra)
    return logger.lines.pop()


@pytest.mark.parametrize(
    ("fmt", "style"),
    [
        ("%(trace_id)s %(message)s", "%"),
        ("{trace_id} {message}", "{"),
        ("$trace_id $message", "$"),
    ],
)
def test_each_record_has_the_id_of_its_request_in_every_style(logger, fmt, style):
    assert (ours.install(), ours.install()) == (True, False)

    with start_root("request", request=Trace(b"\xab" * 16)):
        inside = say(logger, fmt, style)

    assert (say(logger, fmt, style), inside) == ("- text", f"{'ab' * 16} text")


def test_a_line_s_own_extra_wins_and_what_else_it_brings_is_there(logger):
    ours.install()

    with start_root("request", request=Trace(b"\xab" * 16)):
        told = say(logger, extra={"trace_id": "theirs"})
        other = say(logger, "%(trace_id)s %(user)s", extra={"user": "ada"})

    assert (told, other) == ("theirs text", f"{'ab' * 16} ada")
    with pytest.raises(KeyError, match="Attempt to overwrite 'message'"):
        logger.info("text", extra={"message": "no"})


def test_a_record_that_another_process_sent_keeps_its_id_and_gets_one_if_it_has_none():
    bare = pickle.loads(pickle.dumps(vars(logging.makeLogRecord({"msg": "x"}))))
    ours.install()
    with start_root("request", request=Trace(b"\xab" * 16)):
        sent = vars(logging.makeLogRecord({"msg": "x"}))

    assert [logging.makeLogRecord(one).trace_id for one in (bare, sent)] == ["-", "ab" * 16]


def test_a_record_has_the_id_of_the_request_that_its_thread_is_in(logger):
    ours.install()
    told = {}

    def within(one):
        with start_root("request", request=Trace(one * 16)):
            for _ in range(2):
                turns.wait()
                told.setdefault(one, []).append(logger.makeRecord(*MADE).trace_id)

    turns = threading.Barrier(2)
    threads = [threading.Thread(target=within, args=(one,)) for one in (b"\xab", b"\xcd")]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    with Joined(b"\xef" * 16, b"\x01" * 8):
        joined = logger.makeRecord(*MADE).trace_id

    assert (told, joined) == (
        {b"\xab": ["ab" * 16] * 2, b"\xcd": ["cd" * 16] * 2},
        "ef" * 16,
    )


MADE = ("shop", logging.INFO, "f", 1, "text", (), None, "function", None, None)


def test_what_a_record_is_made_of_is_what_it_was_made_of_before(logger):
    def told(record):
        timeless = {"created", "msecs", "relativeCreated"}
        return {key: value for key, value in vars(record).items() if key not in timeless}

    calls = (
        MADE,
        MADE[:7],
        (*MADE[:8], {"user": "ada"}, "the stack"),
        (*MADE[:8], None, "the stack"),
    )
    before = [told(logger.makeRecord(*one)) for one in calls]
    ours.install()
    after = [told(logger.makeRecord(*one)) for one in calls]
    named = told(logger.makeRecord(*MADE[:7], func="function", sinfo=None))

    assert after == [{**one, "trace_id": "-"} for one in before]
    assert named == after[0]


def test_an_id_that_a_factory_gave_wins_and_one_that_takes_none_costs_no_line(logger):
    def theirs(*args, **kwargs):
        record = logging.LogRecord(*args, **kwargs)
        record.trace_id = "theirs"
        return record

    ours.install()
    logging.setLogRecordFactory(theirs)
    told = logger.makeRecord(*MADE).trace_id
    logging.setLogRecordFactory(lambda *args, **kwargs: args)

    assert (told, logger.makeRecord(*MADE)[0]) == ("theirs", "shop")


def test_what_the_class_of_records_says_of_its_making_holds(logger, monkeypatch):
    ours.install()
    made = []
    init = logging.LogRecord.__init__

    def noted(self, *args, **kwargs):
        made.append(args[0])
        init(self, *args, **kwargs)

    monkeypatch.setattr(logging.LogRecord, "__init__", noted)
    noticed = logger.makeRecord(*MADE).trace_id
    monkeypatch.setattr(logging.LogRecord, "__init__", lambda *_: 7)
    with pytest.raises(TypeError, match="should return None, not 'int'"):
        logger.makeRecord(*MADE)
    monkeypatch.setattr(logging.LogRecord, "__init__", int)
    with pytest.raises(TypeError):
        logger.makeRecord(*MADE)

    assert (made, noticed) == (["shop"], "-")


def test_what_was_around_makerecord_before_is_called_for_every_line(logger):
    inner, seen = logging.Logger.makeRecord, []

    def theirs(*args, **kwargs):
        seen.append(args[1])
        return inner(*args, **kwargs)

    logging.Logger.makeRecord = theirs
    ours.install()

    assert (say(logger), seen) == ("- text", ["shop"])


def test_records_of_any_factory_and_class_of_loggers_have_it(logger):
    class Record(logging.LogRecord):
        pass

    class Logger(logging.Logger):
        def makeRecord(self, *args, **kwargs):
            return super().makeRecord(*args, **kwargs)

    ours.install()
    logging.setLogRecordFactory(Record)
    record = Logger("any").makeRecord("any", logging.INFO, "f", 1, "text", (), None)

    assert (type(record), record.trace_id) == (Record, "-")


def test_a_filter_does_the_same_for_one_handler():
    entry, theirs = (logging.makeLogRecord({"msg": "x"}) for _ in range(2))
    theirs.trace_id = "theirs"

    assert [ours.TraceIdFilter().filter(one) for one in (entry, theirs)] == [True, True]
    assert (entry.trace_id, theirs.trace_id) == ("-", "theirs")


def test_uninstalling_leaves_nothing_behind():
    before = logging.Logger.makeRecord, logging.makeLogRecord
    ours.install()
    ours.uninstall()

    assert (logging.Logger.makeRecord, logging.makeLogRecord) == before


def test_what_somebody_put_around_ours_stays_and_ours_passes_on(logger):
    ours.install()
    inner = logging.Logger.makeRecord

    def theirs(*args, **kwargs):
        return inner(*args, **kwargs)

    logging.Logger.makeRecord = theirs
    ours.uninstall()

    assert logging.Logger.makeRecord is theirs
    assert say(logger, "%(message)s") == "text"
    assert not hasattr(logger.makeRecord("a", 20, "f", 1, "x", (), None), "trace_id")


def test_what_stands_for_makerecord_is_copied_and_pickled_as_a_function_is():
    assert ours.install()
    made = logging.Logger.makeRecord

    assert (copy.deepcopy(made), pickle.loads(pickle.dumps(made))) == (made, made)
