"""Certificates for tests: an authority of our own, and one that nobody trusts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from dicom_node.settings.access import Tls


@dataclass(frozen=True)
class Identity:
    """PEM files of one application: its certificate (with chain), its key, and whom it trusts."""

    certificate: Path
    key: Path
    trusted: Path

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate."""
        found = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        return sha256(found.public_bytes(Encoding.DER)).hexdigest()

    def tls(self) -> Tls:
        """As the node's own."""
        return Tls(certificate=self.certificate, key=self.key, trusted=self.trusted)

    def dcmtk(self) -> tuple[str, ...]:
        """As options of dcmtk's tools."""
        return "+tls", str(self.key), str(self.certificate), "+cf", str(self.trusted)


class Authority:
    """Issues certificates for ``names`` into ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._ca = trustme.CA()
        self.file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def issue(self, *names: str, file: str = "", expires: datetime | None = None) -> Identity:
        """A certificate for DNS names; the first is its common name too."""
        issued = self._ca.issue_cert(*names, common_name=names[0], not_after=expires)
        stem = file or names[0]
        certificate, key = self._folder / f"{stem}.crt", self._folder / f"{stem}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        key.write_bytes(issued.private_key_pem.bytes())
        return Identity(certificate, key, self.file)
