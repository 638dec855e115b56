"""A real SMTP server (aiosmtpd) that keeps what it takes."""

from __future__ import annotations

import logging
import ssl
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, Self, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.peers.ports import free_port

logging.getLogger("mail.log").setLevel(logging.ERROR)  # aiosmtpd logs every line of the protocol


class SmtpPeer:
    """Listens on ``port`` of the loopback. With ``tls`` it wants STARTTLS and the login ``user``/``password``.

    ``messages`` are those taken, ``refuse`` an address that it does not take mail for.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None, password: str = "", port: int | None = None) -> None:
        self.port = port or free_port()
        self.messages: list[EmailMessage] = []
        self.refuse = ""
        self._password = password
        options: dict[str, Any] = {}
        if tls is not None:
            options = {"tls_context": tls, "require_starttls": True, "auth_required": True}
        self._controller = Controller(
            self, hostname="127.0.0.1", port=self.port, authenticator=self._authenticate, **options
        )

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    async def handle_RCPT(  # noqa: N802  (aiosmtpd's name)
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address == self.refuse:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.original_content or b""
        self.messages.append(cast("EmailMessage", message_from_bytes(content, policy=policy.default)))
        return "250 taken"

    def _authenticate(self, server: SMTP, session: Session, envelope: Envelope, how: str, data: object) -> AuthResult:
        assert isinstance(data, LoginPassword)
        good = (data.login, data.password) == (b"user", self._password.encode())
        return AuthResult(success=good, handled=False)
