"""The client that posts a report to a FHIR R4 server and says which failures are worth another try."""

from __future__ import annotations

import ssl
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from fhir.answers import Receipt, failure, receipt
from fhir.auth import Authorization
from fhir.subjects import identifying_texts, literal, logical_references, searched
from fhir.transport import Connection, check_url, connect
from fhir.urls import public_url
from pipeline.errors import Rejected

NOT_SEARCHABLE = {400, 403, 404, 405, 406, 415, 422, 501}
"""Answers to a search that mean that this server does not let us search; the logical reference stays."""


@dataclass(frozen=True)
class FhirClient:
    """One FHIR server. ``timeout`` in seconds for each wait; holds no connection between two calls of `send`.
    ``tls`` None: the system's authorities and no certificate of ours.

    ``patient_system`` and ``accession_system`` are the identifier systems of patients and accession numbers whose
    DICOM issuer names none: without a system the number of another hospital's patient would match as well, so such a
    patient is not searched for.

    Raises
    ------
    BadSettings
        where ``url`` is no http or https URL, or would get a token in clear text.
    """

    url: str
    timeout: float = 30.0
    authorization: Authorization | None = None
    tls: ssl.SSLContext | None = None
    patient_system: str | None = None
    accession_system: str | None = None

    def __post_init__(self) -> None:
        check_url(self.url, secret=self.authorization is not None)

    def send(self, bundle: dict[str, Any]) -> Receipt:
        """Resolve patient and order, then post the transaction ``bundle``.

        Raises
        ------
        Retryable
            PeerUnavailable: no answer, or 5xx. PeerBusy: 408, 409, 412, 423, 425, 429, 503, with ``retry_after`` where
            the server gave one.
        Rejected
            any other answer that is no success, with the diagnostics of its OperationOutcome.
        """
        with self._connect() as server:
            resolved = self._resolve(bundle, server)
            response = server.post("", json=resolved)
            secrets = identifying_texts(bundle) | server.secrets
            if not response.is_success:
                raise failure(response.status_code, response, self._place, secrets)
            return receipt(response, self._place, secrets)

    def resolve(self, bundle: dict[str, Any]) -> dict[str, Any]:
        """``bundle`` with literal references to the patient and order that the server knows.

        A reference stays logical where the server finds none or more than one. Nothing is ever created. Identifiers
        travel in the body of the search (R4 3.1.1.2), so that none stands in a URL that proxies and servers log.

        Raises
        ------
        Retryable, Rejected
            as `send`.
        """
        with self._connect() as server:
            return self._resolve(bundle, server)

    def _resolve(self, bundle: dict[str, Any], server: Connection) -> dict[str, Any]:
        for kind, default in (("Patient", self.patient_system), ("ServiceRequest", self.accession_system)):
            for reference in logical_references(bundle, kind):
                query = searched(reference, default, bundle)
                found = self._search(server, kind, query, bundle) if query else []
                if len(found) == 1:
                    bundle = literal(bundle, reference, f"{kind}/{found[0]}")
        return bundle

    def _search(self, server: Connection, kind: str, query: dict[str, str], bundle: dict[str, Any]) -> list[str]:
        """Logical ids of at most two matches."""
        response = server.post(f"/{kind}/_search", data={**query, "_count": "2"})
        if response.status_code in NOT_SEARCHABLE:
            return []
        if not response.is_success:
            secrets = identifying_texts(bundle) | server.secrets
            raise failure(response.status_code, response, self._place, secrets)
        try:
            entries = response.json().get("entry") or []
            resources = [entry["resource"] for entry in entries if "resource" in entry]
            return [str(item["id"]) for item in resources if item.get("resourceType") == kind]
        except (ValueError, TypeError, KeyError, AttributeError):
            raise Rejected(
                f"The answer to a search for a {kind} is not FHIR.", where=self._place, todo="Check the server's URL."
            ) from None

    def _connect(self) -> AbstractContextManager[Connection]:
        return connect(self.url, self.timeout, self.authorization, self.tls)

    @property
    def _place(self) -> str:
        return public_url(self.url)
