"""Objects of an object store: put whole, fetched in blocks, listed; and what failed with them.

They are asked for by obstore, which understands what deltalake's own client does: the same
variables and options, in the same library. deltalake's file system for Arrow would do, but
keeps the interpreter's lock while the network answers: in an outage the whole process stood
still (docs/adr/0026-objects-by-obstore.md).
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import IO, TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, from_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

S3: Final = ("s3://", "s3a://")

BLOCK_BYTES: Final = 4 << 20

TIMEOUT_S: Final = 15
CONNECT_S: Final = 5
RETRY_S: Final = 10
"""Of one request: how long an answer may take, a connection, and all tries until the last one
begins. The libraries' own would try for three minutes, and senders wait ten seconds for theirs:
they are told soon that they have to come again."""

CLIENT: Final = ("timeout", "connect_timeout", "allow_http")
"""Those options that are the connection's, and not the store's."""

CAUSE: Final = "↳"
"""object_store begins each cause's line with it, in red."""


def options_of(url: str, given: Mapping[str, str]) -> dict[str, str]:
    """What the store at that URL is asked with: the given options, and ours beside them.

    Whoever names an endpoint without TLS means it.
    """
    if not url.lower().startswith(S3):
        return dict(given)
    named = (os.environ.get(name, "") for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT"))
    plain = any(endpoint.lower().startswith("http://") for endpoint in named)
    ours = {
        "timeout": f"{TIMEOUT_S} seconds",
        "connect_timeout": f"{CONNECT_S} seconds",
        "retry_timeout": f"{RETRY_S} seconds",
        "allow_http": os.environ.get("AWS_ALLOW_HTTP", str(plain).lower()),
    }
    return ours | dict(given)


def objects_at(url: str, options: Mapping[str, str] | None) -> Objects:
    """The objects below a URL. Nothing is asked yet."""
    known = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return Objects(_store(url, _items(options or {}), _items(known)), url)


def _items(pairs: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(pairs.items()))


@lru_cache(maxsize=64)  # each has its connections; with other variables it is another one
def _store(
    url: str, options: tuple[tuple[str, str], ...], _variables: tuple[tuple[str, str], ...]
) -> Any:
    if url.startswith("file:"):
        return LocalStore.from_url(url, mkdir=True)
    config: dict[str, Any] = dict(options)
    client: Any = {name: config.pop(name) for name in CLIENT if name in config}
    client["allow_http"] = client.get("allow_http", "").lower() in ("1", "true", "yes", "on")
    seconds = re.match(r"\d+", config.pop("retry_timeout", "")) or [RETRY_S]
    retry: Any = {"max_retries": 10, "retry_timeout": timedelta(seconds=int(seconds[0]))}
    scheme = re.sub(r"^s3a?:", "s3:", url, flags=re.IGNORECASE)
    more: Any = {"config": config, "client_options": client, "retry_config": retry}
    with told(url):
        return from_url(scheme, **more)


class Objects:
    """The objects below one URL, by their paths; what fails is an OSError."""

    def __init__(self, store: Any, url: str) -> None:
        self._store = store
        self._url = url

    def put(self, path: str, file: IO[bytes]) -> None:
        """Make an object of a file's bytes, from where it stands; it is there whole, or not."""
        with told(self._url):
            self._store.put(path, file)

    def blocks(self, path: str) -> Iterator[memoryview]:
        """The bytes of an object, each block asked for alone, as `TIMEOUT_S` is for all of an
        answer. Raises FileNotFoundError if there is none.
        """
        with told(self._url):
            if not (size := self._store.head(path)["size"]):
                return
            for start in range(0, size, BLOCK_BYTES):
                length = min(BLOCK_BYTES, size - start)
                yield memoryview(self._store.get_range(path, start=start, length=length))

    def is_kept(self, path: str) -> bool:
        """Whether a new object of that path is not overwritten by one that is put as new, too.

        It is tried, and removed.
        """
        with told(self._url):
            self._store.put(path, b"1", mode="create")
            try:
                self._store.put(path, b"2", mode="create")
            except AlreadyExistsError:
                return True
            finally:
                self._store.delete(path)
        return False

    def paths(self) -> Iterator[str]:
        """The paths of all objects here."""
        with told(self._url):
            for some in self._store.list():
                yield from (each["path"] for each in some)


@contextmanager
def told(url: str) -> Iterator[None]:
    """Have what obstore raises told as deltalake would: an OSError with its causes in lines."""
    try:
        yield
    except FileNotFoundError as error:
        if "NoSuchBucket" not in str(error):
            raise
        raise OSError(_in_lines(str(error))) from None
    except (BaseError, ValueError) as error:
        raise OSError(_in_lines(str(error)) or f"{url} cannot be asked") from None


def _in_lines(text: str) -> str:
    """An error of obstore: what failed, and each cause in a line of its own.

    The deepest stands in the structure it shows, which is left out, as is all of an answer but
    its code.
    """
    shown, _, structure = text.partition("\n\nDebug source:")
    line, _, answer = shown.partition(": <")
    first, *causes = re.split(r": (?=Error performing)| - ", line)
    deepest = re.findall(r'message: "([^"\n]+)"', structure)
    deepest += ["operation timed out"] * ("TimedOut" in structure)
    deepest += ["URL scheme is not allowed"] * ("BadScheme" in structure)
    code = re.search(r"<Code>\w+</Code>", f"<{answer}")
    told = [cause.rpartition("code: ")[2].partition("\n")[0] for cause in causes]
    told += deepest[-1:]
    return f"\n {CAUSE} ".join([first, *told, *([code[0]] if code else [])])


def said_by_object_store(text: str) -> str:
    """What an object store's error says, in one line: whom it asked, and the last cause."""
    first, *causes = (
        cause.strip() for cause in re.sub(r"\x1b\[[0-9;]*m", "", text).split(CAUSE)
    )
    asked = re.search(r"[a-z]+://[^/?\s]+", text)
    code = re.search(r"<Code>(\w+)</Code>", text)
    told = [cause for cause in causes if not cause.startswith("<")]  # an answer's body
    why = told[-1].partition("\n")[0] if told else "no cause is told"
    where = f" at {asked[0]}" if asked else ""
    line = f"{first.removeprefix('Kernel error -> ')}{where}: {why}"
    return f"{line}, {code[1]}" if code else line


KEYS: Final = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_REFUSED: Final = r"<Code>(InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|ExpiredToken)"


def remedy(url: str, text: str) -> str:
    """What to do about an object store's error: where to look, which variables to set."""
    if not url.lower().startswith(S3):
        return "look whether it is up, and at the variables that say where it is and who asks"
    bucket = urlsplit(url).netloc
    if "NoSuchBucket" in text:
        return (
            f"make the bucket {bucket}, name one that is there, or look at AWS_ENDPOINT_URL "
            "and AWS_REGION"
        )
    if "169.254.169.254" in text:
        return f"no credentials were given: set {KEYS}"
    if re.search(_REFUSED, text):
        return f"its key is not accepted: set {KEYS}, and AWS_SESSION_TOKEN if it has one"
    if re.search(r"\b40[13]\b|AccessDenied", text):
        return (
            f"the key of {KEYS} has to be allowed to list {bucket}, and to get, put and delete "
            "objects in it"
        )
    return f"look whether it is up, and at AWS_ENDPOINT_URL, AWS_REGION, {KEYS}"
