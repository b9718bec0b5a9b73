"""Which Spark cluster `--engine` names, and whether somebody answers there."""

from __future__ import annotations

import os
import re
import shutil
import socket
from difflib import get_close_matches
from typing import Final, NamedTuple, NoReturn

from nilometer.errors import ConfigError, EngineError

SCHEMES: Final = {"spark": 7077, "sc": 15002}
"""The ports that Spark listens on unless it is told another."""

CHOICE: Final = "local, spark://HOST:PORT, sc://HOST:PORT"

REACH_S: Final = 10.0
"""How long one host is waited for; one that is there takes milliseconds."""

_HOST: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:/;,\[\]@]+)(:(?P<port>\d{1,5}))?")


class Cluster(NamedTuple):
    """A cluster: its URL as Spark takes it, the part of it that is no secret, its hosts.

    `is_connect` is whether a server holds the session (Spark Connect), instead of us.
    """

    url: str
    shown: str
    hosts: tuple[tuple[str, int], ...]
    is_connect: bool


def cluster_of(text: str) -> Cluster:
    """The cluster of that URL. Raises ConfigError for what is none."""
    scheme, there, rest = text.partition("://")
    if scheme not in SCHEMES or not there:
        near = get_close_matches(scheme.lower(), ["local", *SCHEMES], n=1, cutoff=0.5)
        told = f"{near[0]}://{_open(rest)}" if near and rest and near[0] in SCHEMES else None
        _refuse(text, told or ("local" if near == ["local"] else None))
    is_connect = scheme == "sc"
    authority, parameters = rest, ""
    if is_connect:  # sc://host:port/;token=...;use_ssl=true
        authority, _, parameters = rest.partition("/")
    hosts = []
    for part in authority.split(",") if not is_connect else [authority]:
        found = _HOST.fullmatch(part)
        port = int(found["port"] or (SCHEMES[scheme] if is_connect else 0)) if found else 0
        if found is None or not 0 < port < 2**16:
            host = re.split(r"[:/;,@]", part)[0] or "HOST"
            _refuse(text, f"{scheme}://{host}:{SCHEMES[scheme]}")
        hosts.append((found["host"].strip("[]"), port))
    if parameters and not parameters.startswith(";"):
        _refuse(text, f"{scheme}://{authority}")
    return Cluster(text, f"{scheme}://{authority}", tuple(hosts), is_connect)


def _open(text: str) -> str:
    """A URL without the parameters of a session: one of them is a token."""
    return text.partition(";")[0].rstrip("/")


def _refuse(text: str, near: str | None) -> NoReturn:
    hint = f"; did you mean {near!r}? ({CHOICE})" if near else f"; choose from {CHOICE}"
    raise ConfigError(f"--engine: {_open(text)!r}{hint}", slug="bad-parameter")


def reach(cluster: Cluster, *, wait_s: float = REACH_S) -> str:
    """The address of this machine that leads to the cluster; its workers can call back there.

    Raises EngineError if no host of it answers.
    """
    refused = []
    for host, port in cluster.hosts:
        try:
            with socket.create_connection((host, port), wait_s) as connection:
                return str(connection.getsockname()[0])
        except OSError as error:
            refused.append(f"{host}:{port}: {error.strerror or error}")
    raise EngineError(
        f"--engine: {cluster.shown} cannot be reached ({'; '.join(refused)}); start it, or say "
        "where it is; --engine local answers in this process",
        slug="engine-unreachable",
    )


def need_java(cluster: Cluster) -> None:
    """Raises ConfigError where Spark's driver, which would run here, has no Java to run on."""
    home = os.environ.get("JAVA_HOME")
    if cluster.is_connect or shutil.which("java", path=f"{home}/bin" if home else None):
        return
    where = f"JAVA_HOME, {home!r}, has no bin/java" if home else "there is no java here"
    raise ConfigError(
        f"--engine: {cluster.shown!r} needs Java 17 or newer, and {where}: "
        "apt-get install openjdk-17-jre-headless; sc://HOST:PORT needs none",
        slug="bad-parameter",
    )
