"""Nilometer's integrations of message buses; which twin runs is the environment's choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nilometer
from bench import buses
from bench.pairs import Pair
from bench.peers.nilometer_library import RING_SHARE, enter_a_trace
from nilometer.integrations import kombu, oslo_messaging, pika
from nilometer.trace import drain_spans, start_root
from nilometer.trace.trigger import Triggers

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.pairs import Loop


def pair(bare: Loop, measured: Loop, *, active: bool) -> Pair:
    if active:
        enter_a_trace()
    return Pair(bare, measured, drain_spans, RING_SHARE if active else 1 << 30)


def kombu_publishes(*, active: bool = False, off: bool = False) -> Pair:
    bare = buses.kombu_publishes()
    kombu.install()
    if off:
        nilometer.set_level("integrations.kombu", "off")
    return pair(bare, buses.kombu_publishes(), active=active)


def unsigned() -> Pair:
    """In a trace that no key began: its messages carry what OpenTelemetry's do."""
    start_root("request", request=Triggers(spans_per_trace=10**9).begin()).start()
    return messages(buses.publishes, bounded=True)


def messages(
    loop: Callable[..., Loop],
    *,
    active: bool = False,
    off: bool = False,
    bounded: bool = False,
) -> Pair:
    bare = loop(buses.pika_channel())
    pika.install()
    if off:
        nilometer.set_level("integrations.pika", "off")
    made = pair(bare, loop(buses.pika_channel()), active=active)
    return made._replace(calls_max=RING_SHARE) if bounded else made


def rpc(loop: Callable[[], Loop], *, active: bool = False, off: bool = False) -> Pair:
    bare = loop()
    oslo_messaging.install()
    if off:
        nilometer.set_level("integrations.oslo_messaging", "off")
    return pair(bare, loop(), active=active)


def calls() -> Loop:
    return buses.rpc_calls(buses.oslo_conf())


CASES = {
    "pika publish switched off": lambda: messages(buses.publishes, off=True),
    "pika publish untraced": lambda: messages(buses.publishes),
    "pika publish traced": lambda: messages(buses.publishes, active=True),
    "pika publish traced, not signed": unsigned,
    "pika process switched off": lambda: messages(buses.processes, off=True),
    "pika process untraced": lambda: messages(buses.processes),
    "pika process traced": lambda: messages(buses.processes, active=True),
    "kombu publish switched off": lambda: kombu_publishes(off=True),
    "kombu publish untraced": kombu_publishes,
    "kombu publish traced": lambda: kombu_publishes(active=True),
    "oslo.messaging call switched off": lambda: rpc(calls, off=True),
    "oslo.messaging call untraced": lambda: rpc(calls),
    "oslo.messaging call traced": lambda: rpc(calls, active=True),
    "oslo.messaging request switched off": lambda: rpc(buses.rpc_requests, off=True),
    "oslo.messaging request untraced": lambda: rpc(buses.rpc_requests),
    "oslo.messaging request traced": lambda: rpc(buses.rpc_requests, active=True),
}
