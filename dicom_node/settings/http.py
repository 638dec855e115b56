"""Settings of who the node is towards FHIR servers and HL7 v2 receivers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, model_validator

from dicom_node.settings.base import Section


class ClientTls(Section):
    """How TLS is spoken to one server. PEM files.

    ``trusted``: the authorities that may have signed the server's certificate, in place of the system's.
    ``certificate`` and ``key``: ours, where the server wants one (mutual TLS). ``server_name``: the name in its
    certificate, where that is not its host (``hl7v2`` only).
    """

    trusted: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    key_password: SecretStr | None = None
    server_name: str | None = None

    @model_validator(mode="after")
    def _certificate_with_its_key(self) -> ClientTls:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        return self


class Smart(Section):
    """SMART Backend Services: what the server's administrator registered for this node.

    The private key, PEM or JWK, stands in a file or in a variable. ``key_id`` None: the key's own, else its thumbprint.
    ``token_url`` None: the server tells it.
    """

    client_id: Annotated[str, Field(min_length=1)]
    private_key_file: Path | None = None
    private_key: SecretStr | None = None
    key_id: str | None = None
    scope: str = "system/*.cruds"
    token_url: str | None = None
    jwks_url: str | None = None

    @model_validator(mode="after")
    def _one_key(self) -> Smart:
        if (self.private_key_file is None) == (self.private_key is None):
            raise ValueError("give private_key_file or private_key, one of them")
        return self
