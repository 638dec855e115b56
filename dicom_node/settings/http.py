"""Settings of who the node is towards FHIR servers, DICOMweb servers and HL7 v2 receivers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, model_validator

from dicom_node.settings.base import Section


class ClientTls(Section):
    """How TLS is spoken to one server."""

    trusted: Path | None = None
    """PEM file of the certificate authorities that may have signed the server's certificate."""
    certificate: Path | None = None
    """PEM file of the node's certificate, for mutual TLS."""
    key: Path | None = None
    """PEM file of the certificate's private key."""
    key_password: SecretStr | None = None
    """Password of the private key. Set it by an environment variable rather than in the file."""
    server_name: str | None = None
    """Name in the server's certificate, for `hl7v2` only."""

    @model_validator(mode="after")
    def _certificate_with_its_key(self) -> ClientTls:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        return self


class Smart(Section):
    """SMART Backend Services: what the server's administrator registered for this node."""

    client_id: Annotated[str, Field(min_length=1)]
    """SMART Backend Services ([fhir-connection.md](fhir-connection.md)): client id of this node."""
    private_key_file: Path | None = None
    """File with the private key, PEM without password or JWK: RSA (RS384) or EC P-384 (ES384). It is read for each
    token."""
    private_key: SecretStr | None = None
    """The private key itself, in place of the file. Set it by an environment variable."""
    key_id: str | None = None
    """`kid` under which the server knows the key."""
    scope: str = "system/*.cruds"
    """Scopes to request."""
    token_url: str | None = None
    """URL of the token endpoint."""
    jwks_url: str | None = None
    """URL at which you publish the node's public keys, if you do."""

    @model_validator(mode="after")
    def _one_key(self) -> Smart:
        if (self.private_key_file is None) == (self.private_key is None):
            raise ValueError("give private_key_file or private_key, one of them")
        return self


class OAuth2(Section):
    """OAuth 2.0 client credentials (RFC 6749 4.4): what the authorisation server's administrator registered."""

    token_url: Annotated[str, Field(pattern=r"^https?://")]
    """URL of the OAuth 2.0 token endpoint."""
    client_id: Annotated[str, Field(min_length=1)]
    """Client id of this node."""
    client_secret: SecretStr | None = None
    """Client secret. Set it by an environment variable rather than in the file."""
    client_secret_file: Path | None = None
    """File that holds the client secret. It is read for each token."""
    scope: str = ""
    """Scopes to request, separated by spaces."""
    audience: str = ""
    """`audience` of the token, which some servers want."""
    authentication: Literal["basic", "post"] = "basic"
    """How client id and secret are sent: `basic` (HTTP basic authentication) or `post` (in the form)."""

    @model_validator(mode="after")
    def _one_secret(self) -> OAuth2:
        if (self.client_secret is None) == (self.client_secret_file is None):
            raise ValueError("give client_secret or client_secret_file, one of them")
        return self
