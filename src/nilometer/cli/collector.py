"""What commands ask of a running collector, over its REST interface."""

from __future__ import annotations

import json
import os
from http.client import HTTPException
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import ProxyHandler, Request, build_opener

import click

from nilometer.cli.exits import Exit
from nilometer.cli.terminal import stop

URL_DEFAULT = "http://127.0.0.1:4318"
ANSWER_S_MAX = (
    30.0  # a scan of everything on a slow disk; a collector that hangs is still noticed
)

# No proxy: an environment's http_proxy is meant for the world, and a collector is a neighbour.
_opener = build_opener(ProxyHandler({}))


class Collector:
    """One collector, as a command reaches it; failures end the command and say what to do."""

    def __init__(self, url: str, token_file: str | None) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Accept": "application/json"}
        if token_file:
            self._headers["Authorization"] = f"Bearer {read_token(token_file)}"

    def ask(self, *path: str, **parameters: Any) -> Any:
        """The JSON at ``/api/v1/<path>``; parameters that are None are left out."""
        return json.loads(self.ask_text(*path, **parameters))

    def ask_text(self, *path: str, **parameters: Any) -> str:
        """The same as text, for the formats that are not JSON."""
        where = "/".join(quote(part, safe="") for part in path)
        given = {
            name: value for name, value in parameters.items() if value not in (None, (), "")
        }
        url = f"{self.url}/api/v1/{where}"
        if given:
            url += "?" + urlencode(given, doseq=True)
        return self._fetch(url)

    def _fetch(self, url: str) -> str:
        if not url.startswith(("http://", "https://")):
            stop(f"--url {self.url!r}: not an http:// or https:// address", Exit.USAGE)
        try:
            request = Request(url, headers=self._headers)  # noqa: S310 - checked above
            with _opener.open(request, timeout=ANSWER_S_MAX) as answer:
                return str(answer.read().decode())
        except HTTPError as error:
            self._refused(error)
        except (URLError, OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            stop(
                f"no collector answers at {self.url} ({reason}); start one with "
                "`nilometer serve`, or say where it is with --url or NILOMETER_URL",
                Exit.UNREACHABLE,
            )

    def _refused(self, error: HTTPError) -> NoReturn:
        detail = said(error.read())
        if error.code == 401:
            stop(
                f"{self.url} wants a token: --token-file FILE or NILOMETER_TOKEN_FILE",
                Exit.REFUSED,
            )
        if error.code == 404:
            stop(detail or f"{self.url} has nothing there", Exit.NOT_FOUND)
        if error.code == 422:
            stop(detail, Exit.USAGE)
        stop(f"{self.url} answered {error.code}: {detail}", Exit.REFUSED)


def said(body: bytes) -> str:
    """The sentence in an error's body, whatever its form."""
    try:
        answer = json.loads(body)
    except ValueError:
        return body[:500].decode(errors="replace")
    if isinstance(answer, dict):
        answer = answer.get("detail", answer.get("error", answer.get("message", answer)))
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)


def read_token(path: str) -> str:
    """The first line of a token file."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        stop(f"--token-file {path}: {error}", Exit.USAGE)
    tokens = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not tokens:
        stop(f"--token-file {path}: no token in it", Exit.USAGE)
    return tokens[0]


def collector_options(command: Any) -> Any:
    """The flags of every command that asks a collector."""
    command = click.option(
        "--token-file",
        metavar="FILE",
        envvar="NILOMETER_TOKEN_FILE",
        help="File with the collector's token. [NILOMETER_TOKEN_FILE]",
    )(command)
    return click.option(
        "--url",
        metavar="URL",
        default=lambda: os.environ.get("NILOMETER_URL", URL_DEFAULT),
        help=f"The collector's address. [NILOMETER_URL; {URL_DEFAULT}]",
    )(command)


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON instead of a table."
)
