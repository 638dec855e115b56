"""Free loopback ports, for several test processes at once."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_choice = random.Random()  # seeded by the system: several processes choose apart
_given: set[int] = set()


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on now, and that this process has not given out before.

    It lies below the ports that the kernel takes for outgoing connections: one of those could otherwise take it between
    this answer and the moment that a peer listens on it, or while a peer that tests stop and start again is stopped.
    """
    lowest = 10_000
    highest = int(_EPHEMERAL.read_text().split()[0]) - 1 if _EPHEMERAL.exists() else 32_767
    while True:
        port = _choice.randint(lowest, highest)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
