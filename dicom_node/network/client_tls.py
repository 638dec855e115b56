"""TLS for clients of FHIR servers and HL7 v2 receivers: 1.2 or later, and the server's certificate
is always checked.
"""

from __future__ import annotations

import ssl

from dicom_node.network.tls import load_identity, reason
from dicom_node.settings.http import ClientTls
from pipeline.errors import BadSettings


def client_context(tls: ClientTls) -> ssl.SSLContext:
    """The context that ``tls`` describes. Its files are read at each call, so that new certificates need no restart.

    Raises
    ------
    BadSettings
        where a file is missing, unreadable or of the wrong kind.
    """
    try:
        context = ssl.create_default_context(cafile=tls.trusted)
    except (OSError, ValueError) as error:
        raise BadSettings(
            f"The authorities to trust cannot be read ({reason(error)}).",
            where=str(tls.trusted),
            todo="Give a PEM file of certificates.",
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.certificate is not None:
        load_identity(context, tls.certificate, tls.key, tls.key_password)
    return context
