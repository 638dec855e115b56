"""Sends notifications by SMTP and webhook."""

from __future__ import annotations

import hashlib
import hmac
import json
import smtplib
import ssl
import time
from email.message import EmailMessage
from email.utils import formatdate
from typing import Final

import httpx

from dicom_node.deliver.credentials import secret
from dicom_node.monitoring.messages import Message
from dicom_node.network.tls import client_context, reason
from dicom_node.settings.http import ClientTls
from dicom_node.settings.notify import EmailReceiver, WebhookReceiver
from pipeline.errors import PeerUnavailable

SIGNATURE: Final = "X-Candela-Signature"
TIMESTAMP: Final = "X-Candela-Timestamp"
MESSAGE_ID: Final = "X-Candela-Message-Id"


def send(name: str, receiver: EmailReceiver | WebhookReceiver, message: Message) -> int:
    """Send ``message``; the server has accepted it when this returns. The number of addresses that it refused.

    Raises
    ------
    PeerUnavailable
        where the server did not accept it.
    BadSettings
        where a secret or a certificate cannot be read.
    """
    if isinstance(receiver, EmailReceiver):
        return _mail(name, receiver, message)
    _post(name, receiver, message)
    return 0


def _mail(name: str, receiver: EmailReceiver, message: Message) -> int:
    mail = EmailMessage()
    mail["Subject"] = message.subject
    mail["From"] = receiver.sender
    mail["To"] = ", ".join(receiver.to)
    mail["Date"] = formatdate(localtime=True)
    mail["Message-ID"] = f"<{message.id}@{receiver.sender.partition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answer by a holiday note
    mail.set_content(message.text)
    password = _password(receiver)
    context = client_context(ClientTls(trusted=receiver.trusted))
    try:
        with _connected(receiver, context) as server:
            if receiver.security == "starttls":
                server.starttls(context=context)
            if receiver.username is not None:
                server.login(receiver.username, password)
            return len(server.send_message(mail))
    except (smtplib.SMTPException, OSError) as error:
        raise _unavailable(name, f"{receiver.host}:{receiver.port}", _why(error)) from None


def _connected(receiver: EmailReceiver, context: ssl.SSLContext) -> smtplib.SMTP:
    if receiver.security == "tls":
        return smtplib.SMTP_SSL(receiver.host, receiver.port, timeout=receiver.timeout, context=context)
    return smtplib.SMTP(receiver.host, receiver.port, timeout=receiver.timeout)


def _password(receiver: EmailReceiver) -> str:
    source = receiver.password or receiver.password_file
    return secret(source) if source is not None else ""


def _post(name: str, receiver: WebhookReceiver, message: Message) -> None:
    source = receiver.secret or receiver.secret_file
    assert source is not None, "the settings demand one"
    body = json.dumps({**message.content, "id": message.id}).encode()
    at = str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        MESSAGE_ID: message.id,
        TIMESTAMP: at,
        SIGNATURE: signature(secret(source), at, body),
    }
    try:
        answer = httpx.post(
            receiver.url,
            content=body,
            headers=headers,
            timeout=receiver.timeout,
            verify=client_context(ClientTls(trusted=receiver.trusted)) if receiver.url.startswith("https") else True,
            trust_env=False,
        )
    except httpx.HTTPError as error:
        raise _unavailable(name, _place(receiver), type(error).__name__) from None
    if not answer.is_success:
        raise _unavailable(name, _place(receiver), f"it answered {answer.status_code}")


def signature(key: str, timestamp: str, body: bytes) -> str:
    """The signature of a webhook: HMAC-SHA256 over the timestamp, a full stop and the body, in hexadecimal."""
    signed = hmac.new(key.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={signed.hexdigest()}"


def _place(receiver: WebhookReceiver) -> str:
    """Scheme and host alone: paths and queries of webhooks often hold a key."""
    url = httpx.URL(receiver.url)
    return f"{url.scheme}://{url.host}"


def _why(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return f"it answered {error.smtp_code}"
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return "it offers no STARTTLS or no login"
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return f"it refused {len(error.recipients)} address(es)"
    return reason(error)


def _unavailable(name: str, where: str, why: str) -> PeerUnavailable:
    return PeerUnavailable(
        f"Receiver {name} did not take the message: {why}.",
        where=where,
        todo=f"Correct [notify.receivers.{name}], then `candela notify test {name}`.",
    )
