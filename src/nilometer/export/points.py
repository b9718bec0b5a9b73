"""OSProfiler's points to a collector, and questions: for its driver and Ceilometer's agent."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from nilometer.export.token_file import read_token

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMEOUT_S: Final = 10.0
NEVER_TAKEN: Final = (400, 413)


class Collector:
    """The collector at a URL; whoever gives a token file at `origin` has it read each time."""

    def __init__(self, url: str, *, token: str = "", file: str = "", origin: str) -> None:
        self.url = url
        self._token = token
        self._file = file
        self._origin = origin
        self._open = build_opener(ProxyHandler({})).open
        self._headers()  # so that a wrong file is told at start

    def _headers(self) -> dict[str, str]:
        token = read_token(self._file, origin=self._origin) if self._file else self._token
        told = {"Content-Type": "application/json"}
        return {**told, "Authorization": f"Bearer {token}"} if token else told

    def ask(self, path: str, body: bytes | None = None) -> Any:
        """The answer, open; OSError, HTTPError among them, where there is none."""
        request = Request(self.url + path, body, self._headers())  # noqa: S310 - http only
        return self._open(request, timeout=TIMEOUT_S)

    def send(self, points: Sequence[str]) -> Counter[str]:
        """Hand points on, each a JSON text; those that it never takes are counted by reason.

        A batch that is refused is halved, so that what is never taken takes nothing along.
        """
        try:
            body = f"[{','.join(points)}]".encode("utf-8", "replace")
            with self.ask("/v1/points", body) as answer:
                return _refused(answer.read())
        except HTTPError as error:
            if error.code not in NEVER_TAKEN:
                raise
            error.close()
            if len(points) == 1:
                return Counter({str(error): 1})
            half = len(points) // 2
            return self.send(points[:half]) + self.send(points[half:])


def _refused(answer: bytes) -> Counter[str]:
    """The points that a collector's answer says it refused, by reason."""
    try:
        rejected = json.loads(answer)["rejected"]
        return Counter({f"refused, {reason}": int(rejected[reason]) for reason in rejected})
    except (ValueError, KeyError, TypeError):
        return Counter()  # it took them, whatever it says
