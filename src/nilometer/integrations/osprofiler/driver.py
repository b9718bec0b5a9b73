"""`nilometer://host:port` for services that keep OSProfiler: its points go to the collector.

Importing this module is enough for OSProfiler to find it; it knows its drivers by their class.
Points are sent together, by a thread of their own: telling one costs the request a list's
append. `osprofiler trace show` and `trace list` read from the collector, too.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import threading
from collections import Counter, deque
from contextlib import suppress
from datetime import UTC, datetime
from logging import getLogger
from typing import TYPE_CHECKING, Any, Final
from urllib.error import HTTPError
from urllib.parse import parse_qsl, unquote, urlencode

from osprofiler.drivers import base

from nilometer.errors import ConfigError
from nilometer.export.points import Collector
from nilometer.model.identity import id_bytes, uuid_text

if TYPE_CHECKING:
    from collections.abc import Callable

log = getLogger("nilometer")

PORT: Final = 4318
BATCH: Final = 1000  # points of some 500 bytes: half a megabyte a request
BATCH_CHARS: Final = (
    2 << 20
)  # if they are large; a collector takes 16 MiB, a character has four
WAIT_S: Final = 0.5  # so long points are gathered
BACK_OFF_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
HELD_MAX: Final = 20_000  # points while the collector is away: 10 MB; then the oldest go
END_S: Final = 3.0  # a process that ends waits so long for the last points
NOT_IN_TIME: Final = "the process ended before the collector took them"
TRACES_MAX: Final = 1000  # as many as the collector lists at once

_URL: Final = re.compile(
    r"nilometer://(?:(?P<token>[^/?#]*)@)?(?P<host>[\w.-]+|\[[0-9A-Fa-f:.]+\])?"
    r"(?::(?P<port>[0-9]{1,5}))?/?(?:\?(?P<options>[^#]*))?"
)
_TLS: Final = {"true": "https", "1": "https", "false": "http", "0": "http"}


class Nilometer(base.Driver):
    """The driver that OSProfiler makes of ``nilometer://[token@]host[:port]``.

    The token may also lie in a file: ``?token_file=PATH``, or ``NILOMETER_TOKEN_FILE``.
    """

    def __init__(self, connection_str: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(connection_str, *args, **kwargs)
        self._collector = collector_of(connection_str)
        self._sender = _Sender(self._collector.send)

    @classmethod
    def get_name(cls) -> str:
        """The scheme of its URLs."""
        return "nilometer"

    def notify(self, info: dict[str, Any], **_: Any) -> None:
        """One point; it is sent later, and never raises."""
        told = {**info, "project": self.project, "service": self.service}
        try:
            point = json.dumps(told, default=str)
        except Exception as error:  # noqa: BLE001 - no request fails because of us
            self._sender.lose(type(error).__name__)
        else:
            self._sender.put(point)

    def flush(self, timeout_s: float = END_S) -> bool:
        """Whether all points told so far are with the collector by then."""
        return self._sender.flush(timeout_s)

    def close(self, timeout_s: float = END_S) -> None:
        """Send what was told, within that time, and end the thread."""
        self._sender.close(timeout_s)

    # ---- reading -----------------------------------------------------------------------------

    def _get(self, path: str, **parameters: object) -> Any:
        with self._collector.ask(f"/api/v1/{path}?{urlencode(parameters)}") as answer:
            return json.load(answer)

    def get_report(self, base_id: str) -> dict[str, Any]:
        """The trace as OSProfiler's own engine builds it of the points that we have."""
        self.result, self.started_at, self.finished_at, self.last_started_at = (
            {},
            None,
            None,
            None,
        )
        try:
            report = self._get(f"traces/{id_bytes(base_id, 16).hex()}", format="osprofiler")
        except HTTPError as error:
            if error.code != 404:
                raise
            return dict(self._parse_results())
        waiting = list(reversed(report["children"]))
        while waiting:
            node = waiting.pop()
            waiting.extend(reversed(node["children"]))
            for key, told in node["info"].items():
                if key.startswith("meta.raw_payload."):
                    self._append(node, told)
        return dict(self._parse_results())

    def _append(self, node: dict[str, Any], told: dict[str, Any]) -> None:
        info = node["info"]
        whose = (info["project"], info["service"], info["host"])
        ids = (node["trace_id"], node["parent_id"])
        self._append_results(*ids, told["name"], *whose, told["timestamp"], told)

    def list_traces(self, fields: set[str] | None = None) -> list[dict[str, Any]]:
        """The latest traces, oldest first."""
        return self._listed(fields or self.default_trace_fields)

    def list_error_traces(self) -> list[dict[str, Any]]:
        """The latest traces in which something failed, oldest first."""
        return self._listed(self.default_trace_fields, error="true")

    def _listed(self, fields: set[str], **wanted: str) -> list[dict[str, Any]]:
        rows = self._get("traces", limit=TRACES_MAX, **wanted)["traces"]
        told = [
            {"base_id": uuid_text(row["id"]), "timestamp": _timestamp(row["started_ns"])}
            for row in reversed(rows)
        ]
        return [{key: one[key] for key in one if key in fields} for one in told]


def collector_of(url: str) -> Collector:
    """The collector that a ``nilometer://`` URL names; ConfigError if it is none.

    A token has characters that end a host's place in a URL; what stands before one of them is
    not to be taken for a host, nor shown.
    """
    found = _URL.fullmatch(url)
    options = dict(parse_qsl(found["options"] or "", keep_blank_values=True)) if found else {}
    token = unquote((found and found["token"]) or "")
    scheme = _TLS.get(options.pop("tls", "false"))
    file = options.pop("token_file", "") or os.environ.get("NILOMETER_TOKEN_FILE", "")
    port = int((found and found["port"]) or PORT)
    is_sound = token.isascii() and token.isprintable() and 0 < port < 1 << 16
    if found is None or options or scheme is None or not is_sound:
        raise ConfigError(
            "connection_string: write nilometer://[TOKEN@]HOST[:PORT][?token_file=FILE][&tls=true]"
            ", and / ? # @ % within a token as %2F %3F %23 %40 %25",
            slug="bad-exporter-url",
        )
    return Collector(
        f"{scheme}://{found['host'] or '127.0.0.1'}:{port}",
        token=token,
        file="" if token else file,
        origin="connection_string",
    )


def _timestamp(at_ns: int) -> str:
    at = datetime.fromtimestamp(at_ns // 10**9, UTC).replace(microsecond=at_ns // 1000 % 10**6)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f")


class _Sender:
    """Sends what is put into it, together and in the background; a fork begins anew."""

    def __init__(self, send: Callable[[list[str]], Counter[str]]) -> None:
        self._send = send
        self._begin()
        atexit.register(self._end)

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._held: deque[str] = deque()
        self._sending = 0  # taken out of those held, and not yet with the collector
        self._lost: Counter[str] = Counter()  # by reason; of what is not said yet
        self._ended = False
        self._woken = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def put(self, point: str) -> None:
        if self._pid != os.getpid():
            self._begin()
        self._held.append(point)
        if len(self._held) > HELD_MAX:
            with suppress(IndexError):  # all were given up meanwhile
                self._held.popleft()
                self.lose("nobody took them")
        self._idle.clear()
        if len(self._held) >= BATCH:
            self._woken.set()
        self._start()

    def lose(self, because: str) -> None:
        """Count one that is lost; the thread says it."""
        if self._pid != os.getpid():
            self._begin()
        with self._lock:
            self._lost[because] += 1
        self._start()

    def _start(self) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=self._run, name="nilometer-points", daemon=True
                    )
                    self._thread.start()

    def flush(self, timeout_s: float) -> bool:
        if self._pid != os.getpid() or (not self._held and self._idle.is_set()):
            return True
        self._woken.set()
        return self._idle.wait(timeout_s)

    def _end(self) -> None:
        self.flush(END_S)
        self._give_up()

    def _give_up(self) -> None:
        """Count what is left, and say what is lost."""
        if self._pid == os.getpid():
            with self._lock:
                left = len(self._held) + self._sending
                self._held.clear()
                self._idle.set()
                self._lost += Counter({NOT_IN_TIME: left} if left else {})
        self._say_lost()

    def close(self, timeout_s: float) -> None:
        self.flush(timeout_s)
        thread, self._ended = self._thread, True
        self._woken.set()
        if thread is not None:
            thread.join(timeout_s)
        self._give_up()
        self._thread, self._ended = None, False

    def _run(self) -> None:
        failed = 0
        while not self._ended:
            self._woken.wait(WAIT_S if not failed else BACK_OFF_S[min(failed, 5) - 1])
            self._woken.clear()
            while self._held:
                with self._lock:
                    points = self._batch() if self._held else []  # given up meanwhile
                    self._sending = len(points)
                sent = self._sent(points, failed)
                with self._lock:
                    self._sending = 0
                    if not sent:
                        self._held.extendleft(reversed(points))
                if not sent:
                    failed += 1
                    break
                failed = 0
            if not failed:
                self._say_lost()
            if not self._held:
                self._idle.set()
                if self._held:  # one came in between
                    self._idle.clear()

    def _batch(self) -> list[str]:
        points = [self._held.popleft()]
        chars = len(points[0])
        while self._held and len(points) < BATCH:
            chars += len(self._held[0])
            if chars > BATCH_CHARS:
                break
            points.append(self._held.popleft())
        return points

    def _sent(self, points: list[str], failed: int) -> bool:
        try:
            lost = self._send(points)
        except HTTPError as error:
            if error.code < 500 and error.code not in (401, 403, 408, 429):
                lost = Counter({str(error): len(points)})  # they would never be taken
            else:
                return self._failed(error, failed)
        except Exception as error:  # noqa: BLE001 - a thread that ended would send nothing
            return self._failed(error, failed)
        with self._lock:
            self._lost += lost
        return True

    def _failed(self, because: Exception, failed: int) -> bool:
        if not failed:
            log.warning("OSProfiler: the collector takes no points, asked again: %s", because)
        return False

    def _say_lost(self) -> None:
        with self._lock:
            lost, self._lost = self._lost, Counter()
        for because, many in lost.items():
            log.error("OSProfiler: lost %d points: %s", many, because)
