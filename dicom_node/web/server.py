"""The role that serves the dashboard."""

from __future__ import annotations

import signal
import ssl
from pathlib import Path
from typing import Any

import structlog
import uvicorn

from dicom_node.jobs import engine
from dicom_node.jobs.client import JobsClient
from dicom_node.settings.tree import Settings
from dicom_node.store import layout
from dicom_node.web.app import web_app
from dicom_node.web.context import Context, open_context
from pipeline.errors import BadSettings

log = structlog.get_logger("candela.web")

GRACE = 3
"""Seconds that running requests have at the end; streams of events are cut."""
CONNECTIONS = 500


def serve_web(settings: Settings, config: Path | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status. ``config`` is the settings file, which programs that it
    starts read.

    Raises
    ------
    BadSettings
        where the port is taken, a certificate cannot be used, or a newer version has written the data.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    layout.check(settings.data_dir)
    engine.prepare(settings)
    with JobsClient(settings) as client:
        context = open_context(settings, client, config)
        context.analyses.start()
        _say(context)
        server = uvicorn.Server(_config(context))
        for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them again once it has ended
            signal.signal(number, lambda *_: None)
        try:
            server.run()
        except SystemExit:  # uvicorn's answer to a port that it cannot have
            raise BadSettings(
                "The dashboard cannot listen.",
                where=settings.web.address,
                todo="Another program has the port, or the address is not this machine's: change [web].",
            ) from None
    return 0


def _say(context: Context) -> None:
    web = context.settings.web
    log.info("web_starts", address=web.address, demo=web.demo)
    if web.demo:
        log.warning("web_without_login", todo="everybody on this machine is an administrator; set web.demo = false")
    elif not context.accounts.accounts():
        log.warning("web_without_accounts", todo="candela web users add NAME --role admin")


def _config(context: Context) -> uvicorn.Config:
    web = context.settings.web
    secured: dict[str, Any] = {}
    if web.certificate and web.key:
        password = web.key_password.get_secret_value() if web.key_password else None
        secured = {"ssl_certfile": web.certificate, "ssl_keyfile": web.key, "ssl_keyfile_password": password}
    config = uvicorn.Config(
        web_app(context),
        host=web.host,
        port=web.port,
        lifespan="off",
        log_level="error",
        log_config=None,  # uvicorn's loggers would name the path of each request
        access_log=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=GRACE,
        proxy_headers=bool(web.proxies),
        forwarded_allow_ips=list(web.proxies),
        **secured,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise BadSettings(
            f"The dashboard's certificate cannot be used ({type(error).__name__}).",
            where="web.certificate, web.key",
            todo="Give PEM files that belong together.",
        ) from None
    return config
