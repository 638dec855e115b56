"""An HTTP server in its own thread, for the receiver."""

from __future__ import annotations

import socket
import threading
from typing import Any

import structlog
import uvicorn

log = structlog.get_logger("candela.web")

BACKLOG = 128
KEEP_ALIVE = 5
"""Seconds for which an idle connection stays open."""
SPARE_CONNECTIONS = 32
"""Connections beyond the requests served at once: they get a "try again" rather than wait."""


class HttpServer:
    """Serves the ASGI application ``app`` on ``host`` and ``port`` between `start` and `stop`."""

    def __init__(self, app: Any, host: str, port: int, *, connections: int) -> None:
        self._host, self._port = host, port
        self._config = uvicorn.Config(
            app,
            lifespan="off",
            log_level="warning",
            log_config=None,  # uvicorn's loggers would name the path of each request
            access_log=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE,
            limit_concurrency=connections + SPARE_CONNECTIONS,
        )
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen.

        Raises
        ------
        OSError
            where the port is taken or the address is not this machine's.
        """
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((self._host, self._port))
            listening.listen(BACKLOG)  # from here on a connection waits instead of being refused
        except OSError:
            listening.close()
            raise
        self._server = uvicorn.Server(self._config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listening]}, name="http", daemon=True
        )
        self._thread.start()
        log.info("http_listening", host=self._host, port=self._port)

    def stop(self, grace: float) -> None:
        """Accept no more, give running requests ``grace`` seconds to finish, then cut off the rest."""
        server, thread = self._server, self._thread
        self._server = self._thread = None
        if server is None or thread is None:
            return
        server.config.timeout_graceful_shutdown = max(1, round(grace))
        server.should_exit = True
        thread.join(grace + 5)
