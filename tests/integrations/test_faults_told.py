"""What fails in our own wrappers is counted, said once, and kept for the doctor to list."""

from __future__ import annotations

from logging import WARNING
from types import SimpleNamespace

import pytest
from oslo_config import cfg

from nilometer.integrations import (
    celery,
    celery_worker,
    faults,
    handed,
    kombu,
    logging_lines,
    messages,
    monasca_redelivery,
    multiprocessing,
    oslo_config,
    oslo_contexts,
    oslo_messaging,
    oslo_messaging_amqp,
    oslo_serializer,
    threading,
)
from nilometer.integrations.osprofiler import points
from nilometer.integrations.patches import Patches
from nilometer.measure import REGISTRY, Registry
from tests.integrations.integration_kit import read, traced_request

SWITCHED_ON = SimpleNamespace(on=True)
ODD = object()  # what a library gives that is built otherwise than we know


class MessagingTimeout(Exception):
    """What oslo.messaging raises where nobody answers."""


class Unspeakable(str):
    """A name that nobody can say."""

    def __str__(self):
        raise RuntimeError("not yours")


def fails(*_):
    raise RuntimeError("ours")


def passes(*_, **__):
    return "done"


def receive_a_message():
    made = messages.Messages("pika", registry=Registry(), triggers=None)
    assert made.read(fails) is None


def get_a_task():
    queue = SimpleNamespace(get=lambda: "a task")
    assert handed.Inbox(queue, fails, "processes").get() == "a task"


def send_a_message(name):
    with traced_request():
        assert messages.with_trace(ODD, name) is ODD


def read_options():
    oslo_config.install(read_options=fails)
    try:
        conf = cfg.ConfigOpts()
        conf([], default_config_files=[], default_config_dirs=[])
    finally:
        oslo_config.uninstall()


def look_for_what_comes_again():
    client = SimpleNamespace(assignment=fails)
    made = monasca_redelivery.Redelivery(ODD, client, passes)
    assert made.positions() == []


def server():
    registry = Registry()
    contexts = oslo_contexts.Contexts(registry, Patches())
    return oslo_messaging.Server(contexts, registry)


def begin_a_call():
    kind = oslo_messaging.Client._kind(ODD, {}, ODD, passes, ODD, "method")
    assert kind is None


def get_no_reply():
    oslo_messaging.Client._tell(ODD, MessagingTimeout(), {})


def receive_a_request():
    assert server().arriving(passes)(ODD, ()) == "done"


def begin_a_request():
    assert server().beginning(passes)(ODD, ()) == "done"


def serve_a_request():
    assert server()._request(ODD, ODD, "method") is None


def refuse_a_request():
    oslo_messaging.Server._refused(ODD, 1, LookupError())


def notify():
    class Transport:
        _send_notification = passes

    class Measured(Transport):
        pass

    sends = SimpleNamespace(depth=SWITCHED_ON)
    send = oslo_messaging._notifying(Measured, sends, None)
    assert send(Measured(), ODD) == "done"


def make_a_connection():
    assert oslo_messaging_amqp._making(passes, ODD)(ODD) == "done"


def dispatch_a_message():
    assert oslo_serializer._taken_from(ODD, ODD) is None


def meet_a_serializer():
    oslo_contexts.Contexts.of(ODD, ODD)


def measure_a_serializer():
    oslo_contexts.Contexts(Registry(), Patches())._measure(object, "serialize_context")


def begin_a_task():
    runs = celery.Runs(Registry(), None)
    assert runs._begins(ODD, ODD) is None


def hand_on_a_task():
    with traced_request():
        celery_worker._receiving(passes, SWITCHED_ON)(ODD)


def log_to_a_handler():
    handler = SimpleNamespace(_name=["a list"])
    record = SimpleNamespace(levelno=WARNING)
    assert logging_lines.Lines(Registry()).timing(passes)(handler, record) == "done"


def log_to_a_broken_handler():
    handler = SimpleNamespace(_name=Unspeakable("name"))
    try:
        fails()
    except RuntimeError:
        assert logging_lines.Lines(Registry()).failing(passes)(handler, ODD) == "done"


def log_at_a_level():
    record = SimpleNamespace(levelno=19, levelname=Unspeakable("level"))
    logging_lines.Lines(Registry())._count(record)()


OURS = [
    ("kombu", "a connection", lambda: kombu._told(SimpleNamespace(__connection__=ODD))),
    ("kombu", "the name of a queue", lambda: kombu.queue_of(ODD, ODD)),
    ("pika", "the trace of a message", receive_a_message),
    ("multiprocessing", "a process", lambda: multiprocessing.task_of(ODD)),
    ("threading", "a thread", lambda: threading.prepared(ODD, ODD)),
    ("processes", "a task", get_a_task),
    ("oslo_messaging", "a call", begin_a_call),
    ("oslo_messaging", "the error of a call", get_no_reply),
    ("oslo_messaging", "the arrival of a request", receive_a_request),
    ("oslo_messaging", "the wait of a request", begin_a_request),
    ("oslo_messaging", "a request", serve_a_request),
    ("oslo_messaging", "a refusal", refuse_a_request),
    ("oslo_messaging", "a notification", notify),
    ("oslo_messaging", "a serializer", meet_a_serializer),
    ("oslo_messaging", "the context of a request", measure_a_serializer),
    ("oslo_messaging_amqp", "a pool", make_a_connection),
    ("oslo_serializer", "the trace of a message", dispatch_a_message),
    ("pika", "the trace of a message that is sent", lambda: send_a_message("pika")),
    ("kombu", "the trace of a message that is sent", lambda: send_a_message("kombu")),
    ("oslo_config", "what the service's files ask for", read_options),
    ("monasca_persister", "what comes again", look_for_what_comes_again),
    ("celery", "the wait of a task", begin_a_task),
    ("celery_worker", "the trace of a task", hand_on_a_task),
    ("osprofiler", "a point", lambda: points._guarded(fails)),
    ("logging_lines", "a handler", log_to_a_handler),
    ("logging_lines", "the error of a handler", log_to_a_broken_handler),
    ("logging_lines", "a level", log_at_a_level),
]


SO = {"oslo_config": "is not followed", "monasca_persister": "is not known"}
"""What comes of it where it is not that something runs unmeasured."""


@pytest.mark.parametrize(
    ("integration", "what", "happen"), OURS, ids=[f"{one[0]}: {one[1]}" for one in OURS]
)
def test_a_fault_of_ours_is_counted_each_time_said_once_and_kept_for_the_doctor(
    integration, what, happen, monkeypatch, caplog
):
    monkeypatch.setattr(faults, "_known", {})
    REGISTRY.collect()
    for _ in range(2):
        happen()

    assert sum(read(REGISTRY)["nilometer.lost"].values()) == 2
    (said,) = [one for one in caplog.messages if "[integration-fails]" in one]
    so = SO.get(integration, "runs unmeasured")
    assert said.startswith(f"integration {integration} fails, {what} {so}: ")
    assert [(one.integration, one.what, one.count) for one in faults.known()] == [
        (integration, what, 2)
    ]
