"""StackTach's command line as far as a server can tell: the requests that `stacky` sends.

The program itself is Python 2 and lies in no package index (what PyPI calls `stacky` is an
interpreter of a language of stacks), so that this stands for it: by the documentation of
StackTach's interface, and by what versions of it were seen to send. Both ways are here that
they have to write a path, with a slash at its end and without, and each answer is read as it
reads it: the first row is the titles, and a table takes only rows that are as long.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

Table = list[list[Any]]

_opener = build_opener(ProxyHandler({}))


class Stacky:
    """``Stacky(url).events()``, one method for each of its commands."""

    def __init__(self, url: str, slash: str = "/") -> None:
        self.url = url
        self.slash = slash

    def _get(self, path: str, **parameters: str) -> Any:
        query = f"?{urlencode(parameters)}" if parameters else ""
        with _opener.open(f"{self.url}/stacky/{path}{self.slash}{query}", timeout=30) as answer:
            return json.load(answer)

    def _table(self, path: str, **parameters: str) -> Table:
        return checked(self._get(path, **parameters))

    def deployments(self) -> Table:
        """`stacky deployments`."""
        return self._table("deployments")

    def events(self) -> Table:
        """`stacky events`."""
        return self._table("events")

    def hosts(self) -> Table:
        """`stacky hosts`."""
        return self._table("hosts")

    def uuid(self, uuid: str) -> tuple[Table, Table]:
        """`stacky uuid UUID`: its events, and its timings."""
        return self._table("uuid", uuid=uuid), self._table("timings/uuid", uuid=uuid)

    def timings(self, name: str) -> Table:
        """`stacky timings NAME`."""
        return self._table("timings", name=name)

    def summary(self) -> Table:
        """`stacky summary`."""
        return self._table("summary")

    def request(self, request_id: str) -> Table:
        """`stacky request ID`."""
        return self._table("request", request_id=request_id)

    def show(self, number: object, service: str = "") -> tuple[Table, str, Table | None]:
        """`stacky show [SERVICE] NUMBER`: the event, its text, what else is of its resource."""
        told, text, uuid = self._get(
            f"show/{service}/{number}" if service else f"show/{number}"
        )
        return checked(told), text, self._table("uuid", uuid=uuid) if uuid else None

    def watch(self, deployment: int, **parameters: str) -> tuple[list[str], str]:
        """One turn of `stacky watch`: its lines, and from when the next turn goes on."""
        widths, rows, last = self._get(f"watch/{deployment}", **parameters)
        lines = []
        for number, sort, _day, time, name, event, uuid in rows:
            told = (str(number), sort, time, name, event, uuid)
            lines.append("|".join(text.center(n) for text, n in zip(told, widths, strict=True)))
        return lines, last

    def kpi(self, tenant: str = "") -> Table:
        """`stacky kpi [TENANT]`."""
        return self._table(f"kpi/{tenant}" if tenant else "kpi")

    def reports(self, since: float, until: float) -> Table:
        """`stacky reports FROM TO`."""
        return self._table("reports", created_from=f"{since:.6f}", created_to=f"{until:.6f}")

    def search(self, service: str, field: str, value: str, **more: str) -> Table:
        """`stacky search SERVICE FIELD VALUE [LIMIT] [FROM] [TO]`."""
        return self._table(f"search/{service}", field=field, value=value, **more)

    def usage(self, kind: str, **parameters: str) -> Table:
        """`stacky usage launches|deletes|exists`, always without a slash."""
        plain = Stacky(self.url, "")
        return plain._table(f"usage/{kind}", **parameters)


def checked(found: Any) -> Table:
    """A table, if a table can be drawn of it."""
    titles, *rows = found
    assert len(set(titles)) == len(titles), titles
    for row in rows:
        assert len(row) == len(titles), (titles, row)
    return [titles, *rows]
