"""A client of Zaqar's: its own library sends a message, in a trace that begins here.

Run by Zaqar's Python under `nilometer run`, whose integration of the library's HTTP client adds
the signed trigger to each request. Prints the id of the trace.
"""

from __future__ import annotations

import sys

from zaqarclient.queues import client

import nilometer
from nilometer.trace import start_root


def main(url: str, project: str, name: str) -> None:
    """Post one message."""
    options = {"auth_opts": {"backend": "noauth", "options": {"os_project_id": project}}}
    queue = client.Client(url, version=2, conf=options).queue(name)
    request = nilometer.triggers().begin()
    with start_root("tell of an order", request=request):
        queue.post([{"ttl": 300, "body": {"order": 17, "pieces": 3}}])
    print(request.trace_id.hex())


if __name__ == "__main__":
    main(*sys.argv[1:])
