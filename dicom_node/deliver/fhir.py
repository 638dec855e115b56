"""The report to a FHIR server, as a transaction."""

from __future__ import annotations

import json
from pathlib import Path

from dicom_node.settings import FhirDestination
from fhir.client import FhirClient


class FhirSender:
    """Posts each file, a transaction Bundle in JSON, to the server. The errors are `fhir.client`'s, already typed."""

    def __init__(self, destination: FhirDestination) -> None:
        token = destination.bearer_token
        self._client = FhirClient(
            destination.url,
            timeout=destination.timeout,
            bearer_token=token.get_secret_value() if token else None,
            patient_system=destination.patient_system,
            accession_system=destination.accession_system,
        )

    def send(self, files: tuple[Path, ...]) -> str:
        """See `Sender.send`."""
        return "; ".join(str(self._client.send(json.loads(path.read_text("utf-8")))) for path in files)
