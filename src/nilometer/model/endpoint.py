"""Where a process listens for those who ask it something."""

import ipaddress
from typing import NamedTuple


class Endpoint(NamedTuple):
    """An address, and the ports of which the first is taken that nobody has."""

    host: str
    first: int
    last: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.first}" + (f"-{self.last}" if self.last > self.first else "")
