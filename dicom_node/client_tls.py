"""TLS towards FHIR servers and HL7 v2 receivers: 1.2 or later, the server's certificate always checked."""

from __future__ import annotations

import ssl

from dicom_node.settings_http import ClientTls
from pipeline.errors import BadSettings


def client_context(tls: ClientTls) -> ssl.SSLContext:
    """The context that ``tls`` describes; its files are read now, so that new certificates need no restart.

    Raises
    ------
    BadSettings
        where a file is missing, not readable or not what it should be.
    """
    try:
        context = ssl.create_default_context(cafile=tls.trusted)
    except (OSError, ValueError) as error:
        raise BadSettings(
            f"The authorities to trust cannot be read ({_reason(error)}).",
            where=str(tls.trusted),
            todo="Give a PEM file of certificates.",
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.certificate is None:
        return context
    # A password that is always given keeps OpenSSL from asking for one at the terminal.
    password = tls.key_password.get_secret_value() if tls.key_password else ""
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=password)
    except (OSError, ValueError) as error:
        raise BadSettings(
            f"The node's certificate or its key cannot be used ({_reason(error)}).",
            where=f"{tls.certificate}, {tls.key}",
            todo="Give PEM files that belong together, readable by this user.",
        ) from None
    return context


def _reason(error: Exception) -> str:
    """In words, without paths or contents."""
    if isinstance(error, ssl.SSLError):
        return error.reason or "not PEM"
    return getattr(error, "strerror", None) or type(error).__name__
