"""The client that posts a report to a FHIR R4 server and says which failures are worth another try."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any

import httpx

from fhir.answers import Receipt, failure, receipt
from fhir.subjects import identifying_texts, literal, logical_references, searched
from pipeline.errors import BadSettings, PeerUnavailable, Rejected, Retryable

FHIR_JSON = "application/fhir+json"
NOT_SEARCHABLE = {400, 403, 404, 405, 406, 415, 422, 501}
"""Answers to a search that mean that this server does not let us search; the logical reference stays."""


@dataclass(frozen=True)
class FhirClient:
    """One FHIR server. ``timeout`` in seconds for each wait; holds no connection between two calls of `send`.

    ``patient_system`` and ``accession_system`` are the identifier systems of patients and accession numbers whose
    DICOM issuer names none: without a system the number of another hospital's patient would match as well, so such a
    patient is not searched for.

    Raises
    ------
    BadSettings
        where ``url`` is no http or https URL.
    """

    url: str
    timeout: float = 30.0
    bearer_token: str | None = None
    patient_system: str | None = None
    accession_system: str | None = None

    def __post_init__(self) -> None:
        try:
            parsed = httpx.URL(self.url)
        except httpx.InvalidURL:
            parsed = httpx.URL()
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise BadSettings(
                "A FHIR server's URL begins with http:// or https://.", where=public_url(self.url), todo="Mend the URL."
            )

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
        with self._http() as http:
            resolved = self._resolve(bundle, http)
            response = self._post(http, "", json=resolved)
            secrets = identifying_texts(bundle)
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
        with self._http() as http:
            return self._resolve(bundle, http)

    def _resolve(self, bundle: dict[str, Any], http: httpx.Client) -> dict[str, Any]:
        for kind, default in (("Patient", self.patient_system), ("ServiceRequest", self.accession_system)):
            for reference in logical_references(bundle, kind):
                query = searched(reference, default, bundle)
                found = self._search(http, kind, query, bundle) if query else []
                if len(found) == 1:
                    bundle = literal(bundle, reference, f"{kind}/{found[0]}")
        return bundle

    def _search(self, http: httpx.Client, kind: str, query: dict[str, str], bundle: dict[str, Any]) -> list[str]:
        """Logical ids of at most two matches."""
        response = self._post(http, f"/{kind}/_search", data={**query, "_count": "2"})
        if response.status_code in NOT_SEARCHABLE:
            return []
        if not response.is_success:
            raise failure(response.status_code, response, self._place, identifying_texts(bundle))
        try:
            entries = response.json().get("entry") or []
            resources = [entry["resource"] for entry in entries if "resource" in entry]
            return [str(item["id"]) for item in resources if item.get("resourceType") == kind]
        except (ValueError, TypeError, KeyError, AttributeError):
            raise Rejected(
                f"The answer to a search for a {kind} is not FHIR.", where=self._place, todo="Check the server's URL."
            ) from None

    def _http(self) -> httpx.Client:
        headers = {"Accept": FHIR_JSON}
        if self.bearer_token:
            headers["Authorization"] = f"Bearer {self.bearer_token}"
        # The system's certificates, where hospitals put their own; no proxy of the environment sees a patient.
        verify = ssl.create_default_context() if self.url.startswith("https") else True
        return httpx.Client(headers=headers, timeout=self.timeout, verify=verify, trust_env=False)

    def _post(self, http: httpx.Client, path: str, **content: Any) -> httpx.Response:
        headers = {"Content-Type": FHIR_JSON} if "json" in content else {}
        try:
            return http.post(self.url.rstrip("/") + path, headers=headers, **content)
        except httpx.TimeoutException as error:
            raise self._unavailable(f"did not answer within {self.timeout:g} s ({type(error).__name__})") from None
        except httpx.TransportError as error:
            raise self._unavailable(f"could not be reached ({error or type(error).__name__})") from None
        except httpx.DecodingError:
            raise self._unavailable("sent an answer that cannot be decoded") from None

    def _unavailable(self, what: str) -> Retryable:
        return PeerUnavailable(
            f"The FHIR server {what}.", where=self._place, todo="It is tried again; check server, network and URL."
        )

    @property
    def _place(self) -> str:
        return public_url(self.url)


def public_url(url: str) -> str:
    """``url`` without user, password and query."""
    bare = url.split("?", maxsplit=1)[0]
    scheme, slashes, rest = bare.rpartition("://")
    return scheme + slashes + rest.rpartition("@")[2]
