"""What commands ask of a running collector, over its REST interface.

Whatever is at the other end, a command ends with a sentence: nobody there, somebody who hangs,
another program, a collector that refuses. Redirects are not followed: the token would go along.
"""

from __future__ import annotations

import json
import os
import time
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

import click

from nilometer.cli.exits import Exit
from nilometer.cli.shapes import Shape, misfit
from nilometer.cli.terminal import Patience, one_line, stop
from nilometer.export.address import hidden

if TYPE_CHECKING:
    from http.client import HTTPResponse

URL_DEFAULT: Final = "http://127.0.0.1:4318"
SILENCE_S_MAX: Final = 30.0  # a scan of everything on a slow disk; who hangs is still noticed
ANSWER_S_MAX: Final = 120.0  # all of it: 60 MB (100,000 spans) over a slow line of 0.5 MB/s
ANSWER_BYTES_MAX: Final = 256 << 20  # 400,000 spans of 600 bytes each
PIECE_BYTES: Final = 1 << 16
TOKEN_FILE_BYTES_MAX: Final = 64 << 10  # a thousand tokens
DETAIL_CHARS_MAX: Final = 1000  # of an error: a screen


class _NoRedirect(HTTPRedirectHandler):
    """Redirects are told like any other refusal."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """Follow none."""


# No proxy: an environment's http_proxy is meant for the world, and a collector is a neighbour.
_opener = build_opener(ProxyHandler({}), _NoRedirect)


class Collector:
    """One collector, as a command reaches it; failures end the command and say what to do."""

    def __init__(self, url: str, token_file: str | None) -> None:
        self.url = checked_url(url)
        self._headers = {"Accept": "application/json"}
        if token_file:
            self._headers["Authorization"] = f"Bearer {read_token(token_file)}"

    def ask(self, *path: str, shape: Shape, **parameters: Any) -> Any:
        """The JSON at ``/api/v1/<path>``, of that shape; parameters that are None are left out.

        What the collector does not know ends the command.
        """
        return self._parsed(self.ask_text(*path, **parameters), shape)

    def find(self, *path: str, shape: Shape, **parameters: Any) -> Any | None:
        """The same, and None for what the collector does not know."""
        text = self._fetch(self._url(path, parameters), missing_is_none=True)
        return None if text is None else self._parsed(text, shape)

    def ask_text(self, *path: str, **parameters: Any) -> str:
        """The same as text, for the formats that are not JSON."""
        return self._fetch(self._url(path, parameters)) or ""

    def send_points(self, points: list[Any]) -> Any:
        """Give it OSProfiler's points: how many were ``taken``, and ``rejected`` by reason."""
        text = self._fetch(f"{self.url}/v1/points", json.dumps(points).encode())
        return self._parsed(text or "", {"taken": int, "rejected": dict})

    def _url(self, path: tuple[str, ...], parameters: dict[str, Any]) -> str:
        where = "/".join(quote(as_bytes(part), safe="") for part in path)
        given = [
            (key, as_bytes(one))
            for key, value in parameters.items()
            for one in (value if isinstance(value, list | tuple) else [value])
            if one is not None
        ]
        query = urlencode(given)
        return f"{self.url}/api/v1/{where}{'?' if query else ''}{query}"

    def _parsed(self, text: str, shape: Shape) -> Any:
        try:
            answer = json.loads(text, parse_constant=_not_json)
        except (ValueError, RecursionError) as error:
            self._foreign(f"no JSON ({error})")
        if where := misfit(answer, shape):
            self._foreign(f"JSON that is not a collector's, see {where}")
        return answer

    def _foreign(self, what: str) -> NoReturn:
        stop(
            f"{self.url} answered {what}; is a Nilometer collector there, of this version? "
            "Say where it is with --url or NILOMETER_URL",
            Exit.REFUSED,
        )

    def _fetch(
        self, url: str, body: bytes | None = None, *, missing_is_none: bool = False
    ) -> str | None:
        try:
            request = Request(url, body, self._headers)  # noqa: S310 - see checked_url
            with (
                Patience(f"waiting for {self.url}"),
                _opener.open(request, timeout=SILENCE_S_MAX) as answer,
            ):
                return self._whole(answer).decode()
        except HTTPError as error:
            if error.code == 404 and missing_is_none and parts(body_of(error)):
                return None
            self._refused(error)
        except UnicodeDecodeError:
            self._foreign("no text")
        except (URLError, OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            because = one_line(str(reason)) or type(reason).__name__
            stop(
                f"no collector answers at {self.url} ({because}); "
                "start one with `nilometer serve`, or say where it is with --url or "
                "NILOMETER_URL",
                Exit.UNREACHABLE,
            )

    def _whole(self, answer: HTTPResponse) -> bytes:
        until = time.monotonic() + ANSWER_S_MAX
        pieces: list[bytes] = []
        size = 0
        while piece := answer.read1(PIECE_BYTES):
            pieces.append(piece)
            size += len(piece)
            if size > ANSWER_BYTES_MAX:
                self._foreign(f"more than {ANSWER_BYTES_MAX >> 20} MiB")
            if time.monotonic() > until:
                raise TimeoutError(f"not done after {ANSWER_S_MAX:.0f} s")
        if answer.length:  # read1 does not say so itself
            raise ConnectionError(f"ended {answer.length} bytes too early")
        return b"".join(pieces)

    def _refused(self, error: HTTPError) -> NoReturn:
        body = body_of(error)
        told = parts(body)
        detail = told.get("detail", "")
        if error.code == 401:
            wanted = (
                "wants a token"
                if "Authorization" not in self._headers
                else "knows no such token"
            )
            stop(
                f"{self.url} {wanted}: --token-file FILE or NILOMETER_TOKEN_FILE",
                Exit.REFUSED,
            )
        if error.code == 404 and detail not in ("", "Not Found"):
            stop(detail, Exit.NOT_FOUND)
        if error.code == 422 and detail:
            stop(as_flag(detail, told.get("parameter", "")), Exit.USAGE)
        if not told and error.code != 503:
            self._foreign(f"{error.code} {error.reason}")
        if error.code == 503 and (pause := error.headers.get("Retry-After", "")).isdecimal():
            detail += f"; come again in {pause} s"
        stop(f"{self.url} answered {error.code} {error.reason}: {detail}", Exit.REFUSED)


def as_bytes(text: object) -> bytes:
    """Words of a command line that are no UTF-8 go out as the bytes they came in as."""
    try:
        return str(text).encode(errors="surrogateescape")
    except UnicodeEncodeError:  # half a character, as JSON can hold it
        return str(text).encode(errors="replace")


def checked_url(url: str) -> str:
    """The collector's address without a slash at its end; ends the command if it is none."""
    origin = "NILOMETER_URL" if url == os.environ.get("NILOMETER_URL") else "--url"
    shown = repr(hidden(url))
    try:
        split = urlsplit(url)
        port = split.port
    except ValueError:  # whose own words may be a password
        stop(f"{origin}: {shown}: not a URL; write {URL_DEFAULT}, for example", Exit.USAGE)
    if split.username is not None or split.password is not None:
        stop(f"{origin}: no name or password in an address: use --token-file", Exit.USAGE)
    is_plain = url.isascii() and url.isprintable() and " " not in url
    if split.scheme not in ("http", "https") or not split.hostname or not is_plain:
        stop(
            f"{origin}: {shown}: not an http:// or https:// address; write {URL_DEFAULT}, for "
            "example",
            Exit.USAGE,
        )
    if port == 0 or split.query or split.fragment:
        stop(f"{origin}: {shown}: write {URL_DEFAULT}, for example", Exit.USAGE)
    return url.rstrip("/")


def body_of(error: HTTPError) -> bytes:
    """The beginning of an error's body, as far as it comes."""
    try:
        return error.read(PIECE_BYTES)
    except (OSError, HTTPException, ValueError):
        return b""


def parts(body: bytes) -> dict[str, str]:
    """The texts of an error as our collector writes it; empty if it is somebody else's."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(answer, dict):
        return {}
    return {k: v[:DETAIL_CHARS_MAX] for k, v in answer.items() if isinstance(v, str)}


def as_flag(detail: str, parameter: str) -> str:
    """A complaint about a parameter, in the words of the command line.

    >>> as_flag("min_duration='5': write a number with its unit", "min_duration")
    "--min-duration '5': write a number with its unit"
    """
    flag = "--" + parameter.replace("_", "-")
    if parameter == "trace_id":
        flag = "ID"
    if parameter and detail.startswith(f"{parameter}="):
        return f"{flag} {detail.removeprefix(f'{parameter}=')}"
    return f"{flag}: {detail}" if parameter else detail


def _not_json(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def read_token(path: str) -> str:
    """The first token of a token file."""
    origin = (
        "NILOMETER_TOKEN_FILE"
        if path == os.environ.get("NILOMETER_TOKEN_FILE")
        else "--token-file"
    )
    try:
        with Path(path).open("rb") as stream:
            content = stream.read(TOKEN_FILE_BYTES_MAX)
    except OSError as error:
        stop(f"{origin}: {path}: {error.strerror} [bad-token-file]", Exit.USAGE)
    lines = [line.strip() for line in content.splitlines()]
    tokens = [line for line in lines if line and not line.startswith(b"#")]
    if not tokens:
        stop(f"{origin}: {path}: no token in it [bad-token-file]", Exit.USAGE)
    token = tokens[0].decode("ascii", errors="replace")
    if not (token.isascii() and token.isprintable() and " " not in token):
        stop(
            f"{origin}: {path}: its first token is not plain ASCII [bad-token-file]", Exit.USAGE
        )
    return token


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
        default=lambda: os.environ.get("NILOMETER_URL") or URL_DEFAULT,
        help=f"The collector's address. [NILOMETER_URL; {URL_DEFAULT}]",
    )(command)


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON instead of a table."
)
