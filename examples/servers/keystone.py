"""Keystone on a SQLite file, for who wants real tokens: one project each for two users.

    with Keystone(folder, port) as keystone:
        token = keystone.token("ana", "shop")

Everybody's password is `PASSWORD`. Keystone is OpenStack's own; `scripts/install-keystone`
brings it.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any, Self
from urllib.request import ProxyHandler, Request, build_opener

from examples.servers.brokers import Missing

FOLDER = Path(__file__).parents[2] / ".cache" / "keystone" / "bin"
PASSWORD = "keystone-of-the-tests"
READY_S = 60

SETTINGS = """
[DEFAULT]
log_file = {folder}/keystone.log
[database]
connection = sqlite:///{folder}/keystone.db
[fernet_tokens]
key_repository = {folder}/keys
[fernet_receipts]
key_repository = {folder}/keys
[credential]
key_repository = {folder}/credentials
[cache]
enabled = false
"""

PROGRAM = """
import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server

port, sys.argv[1:] = int(sys.argv[1]), []
from keystone.server.wsgi import initialize_public_application

class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

application = initialize_public_application()
make_server("127.0.0.1", port, application, server_class=Server).serve_forever()
"""

_opener = build_opener(ProxyHandler({}))


class Keystone:
    """One keystone process. `url` is its v3 API."""

    def __init__(self, folder: Path, port: int) -> None:
        if not (FOLDER / "keystone-manage").exists():
            raise Missing("keystone is needed and not installed: scripts/install-keystone")
        self.url = f"http://127.0.0.1:{port}/v3"
        self.folder = folder
        self._settings = folder / "keystone.conf"
        self._settings.write_text(SETTINGS.format(folder=folder))
        for name in ("keys", "credentials"):
            (folder / name).mkdir(mode=0o700)
        self._prepare()
        with (folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                [FOLDER / "python", "-c", PROGRAM, str(port)],
                env={**os.environ, "OS_KEYSTONE_CONFIG_FILES": str(self._settings)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait()

    def _prepare(self) -> None:
        who = ["--keystone-user", str(os.getuid()), "--keystone-group", str(os.getgid())]
        url = [f"--bootstrap-{kind}-url={self.url}" for kind in ("public", "internal", "admin")]
        for words in (
            ["db_sync"],
            ["fernet_setup", *who],
            ["bootstrap", "--bootstrap-password", PASSWORD, *url],
        ):
            command = [FOLDER / "keystone-manage", "--config-file", self._settings, *words]
            subprocess.run(command, check=True, capture_output=True, timeout=READY_S)

    def _wait(self) -> None:
        give_up = time.monotonic() + READY_S
        while True:
            try:
                self.ask("GET", "/")
            except OSError:
                if self._process.poll() is not None or time.monotonic() > give_up:
                    self.stop()
                    raise
                time.sleep(0.2)
            else:
                return

    def ask(self, method: str, path: str, told: Any = None, token: str = "") -> tuple[Any, Any]:
        """What keystone answers, and its headers."""
        headers = {"Content-Type": "application/json", "X-Auth-Token": token}
        body = None if told is None else json.dumps(told).encode()
        request = Request(self.url + path, body, headers, method=method)
        with _opener.open(request, timeout=30) as answer:
            content = answer.read()
            return (json.loads(content) if content else None), answer.headers

    def token(self, user: str, project: str) -> str:
        """A new token of this user for this project."""
        domain = {"id": "default"}
        identity = {
            "methods": ["password"],
            "password": {"user": {"name": user, "domain": domain, "password": PASSWORD}},
        }
        scope = {"project": {"name": project, "domain": domain}}
        _, headers = self.ask(
            "POST", "/auth/tokens", {"auth": {"identity": identity, "scope": scope}}
        )
        return str(headers["X-Subject-Token"])

    def add(self, user: str, project: str, role: str) -> str:
        """Make a user with that role in a project of its own; the project's id."""
        admin = self.token("admin", "admin")
        made, _ = self.ask("POST", "/projects", {"project": {"name": project}}, admin)
        told = {"user": {"name": user, "password": PASSWORD}}
        someone, _ = self.ask("POST", "/users", told, admin)
        roles, _ = self.ask("GET", f"/roles?name={role}", None, admin)
        if not roles["roles"]:
            role_made, _ = self.ask("POST", "/roles", {"role": {"name": role}}, admin)
            roles = {"roles": [role_made["role"]]}
        project_id, role_id = made["project"]["id"], roles["roles"][0]["id"]
        where = f"/projects/{project_id}/users/{someone['user']['id']}/roles/{role_id}"
        self.ask("PUT", where, None, admin)
        return str(project_id)

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
