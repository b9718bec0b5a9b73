"""mongoeco, which speaks MongoDB's wire protocol, started as the brokers beside this file are.

It is no MongoDB, of which no package is to be had here: slow, and without some commands. What
pymongo does with it is what pymongo does. `scripts/install-mongoeco` brings it, with a Python
3.13 of its own; where there is none, `INSTALLED` is false.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from examples.servers.brokers import Missing, Server

if TYPE_CHECKING:
    from collections.abc import Sequence

PYTHON: Final = Path(__file__).parent.parent.parent / ".cache" / "mongoeco" / "bin" / "python"
INSTALLED: Final = PYTHON.exists()
_SERVE: Final = """\
import asyncio, sys
from mongoeco.wire import AsyncMongoEcoProxyServer

async def main():
    server = AsyncMongoEcoProxyServer(port=int(sys.argv[1]))
    await server.start()
    await asyncio.Event().wait()

asyncio.run(main())
"""


class MongoEco(Server):
    """It keeps its data in memory."""

    @property
    def url(self) -> str:
        """Where it is, as pymongo takes it."""
        return f"mongodb://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str | Path]:
        if not INSTALLED:
            raise Missing(f"{PYTHON} is needed and not installed: scripts/install-mongoeco")
        return [PYTHON, "-c", _SERVE, str(self.port)]
