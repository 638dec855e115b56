"""The client that posts a report to a FHIR R4 server and decides which failures are tried again."""

from __future__ import annotations

import functools
import itertools
import ssl
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import httpx

from fhir.server.ambiguous import duplicates, named_by_identifier, note, versions
from fhir.server.amend import Settled, State, revision_of, settle
from fhir.server.answers import PRECONDITION_FAILED, Receipt, failure, receipt, sorted_out, status_of, version_of
from fhir.server.auth import Authorization
from fhir.server.closing import closing
from fhir.server.same_patient import Patients, Whose
from fhir.server.singly import Singly, StoredIds, Unsaved
from fhir.server.stored import Search, kind_of, name_of
from fhir.server.study_merge import StudyState, with_study
from fhir.server.subjects import identifying_texts, is_meant, literal, logical_references, patient_in, searched
from fhir.server.transport import Connection, check_url, connect
from fhir.server.urls import origin, public_url
from fhir.server.withdraw import withdrawn
from pipeline.errors import PeerBusy, Rejected
from pipeline.report.withdrawal import Withdrawal

NOT_SEARCHABLE = {400, 403, 404, 405, 406, 415, 422, 501}
"""Answers to a search that mean that this server does not let us search; the logical reference stays."""
GONE = 410
PAGE = 200
PAGES_MOST = 50
"""No report of Candela has more resources than fit these pages."""


@dataclass(frozen=True)
class FhirClient:
    """One FHIR server. ``timeout`` in seconds for each wait; holds no connection between two calls of `send`.
    ``tls`` None: the system's authorities, without a client certificate.

    ``patient_system`` and ``accession_system`` are the identifier systems of patients and accession numbers whose
    DICOM issuer names none: without a system the number of another hospital's patient would match as well, so such a
    patient is not searched for. ``singly``: the server takes no transactions (`fhir.server.singly`).

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
    singly: bool = False

    def __post_init__(self) -> None:
        check_url(self.url, secret=self.authorization is not None)

    def send(self, bundle: dict[str, Any], ids: StoredIds | None = None) -> Receipt:
        """Resolve patient and order, then post the transaction ``bundle``.

        ``ids`` knows what earlier attempts created at a server that takes single resources.

        Raises
        ------
        Retryable
            PeerUnavailable: no answer, or 5xx. PeerBusy: 408, 409, 423, 425, 429, 503, with ``retry_after`` where the
            server gave one; 412 where a version that we name is no longer the current one.
        Rejected
            any other answer that is no success, with the diagnostics of its OperationOutcome.
        """
        with self._connect() as server:
            resolved, notes = self._resolve(bundle, server)
            search, base = functools.partial(self._matches, server, bundle), self.url.rstrip("/")
            patients = Patients(search, base, self.patient_system)
            settled = settle(resolved, search, base, patients)
            notes += (settled.note,) if settled.note else ()
            if settled.bundle is None:
                return Receipt((), (), notes=notes)
            merged = with_study(settled.bundle, search, base, patients)
            notes += (merged.note,) if merged.note else ()
            if self.singly and settled.state is State.BLIND and revision_of(bundle) > 1:
                raise self._not_amended()
            got = self._deliver(server, merged.bundle, search, identifying_texts(bundle), ids)
            self._check_race(settled, merged.state, got)
            return replace(got, notes=(*notes, *got.notes))

    def capability(self) -> str:
        """Software and FHIR version of the server, as its CapabilityStatement states them. Raises as `send`."""
        with self._connect() as server:
            response = server.get(f"{self.url.rstrip('/')}/metadata")
            if not response.is_success:
                raise failure(response.status_code, response, self._place, server.secrets)
        try:
            stated = response.json()
            version, software = str(stated["fhirVersion"]), stated.get("software") or {}
            name = " ".join(str(software[key]) for key in ("name", "version") if software.get(key))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Rejected(
                "The answer is not a CapabilityStatement.", where=self._place, todo="Check the server's URL."
            ) from None
        return f"{name or 'a server'}, FHIR {version}"

    def withdraw(self, bundle: dict[str, Any], withdrawal: Withdrawal, ids: StoredIds | None = None) -> Receipt:
        """Enter in error what ``bundle`` sent, as far as the server holds it. Raises as `send`."""
        with self._connect() as server:
            search, base = functools.partial(self._matches, server, bundle), self.url.rstrip("/")
            settled = withdrawn(bundle, withdrawal, search, base)
            if settled.bundle is None:
                return Receipt((), (), notes=(settled.note,))
            secrets = identifying_texts(bundle) | {withdrawal.why}
            got = self._deliver(server, settled.bundle, search, secrets, ids)
            return replace(got, notes=(settled.note, *got.notes))

    def close(self, bundle: dict[str, Any], ids: StoredIds | None = None) -> Receipt | None:
        """Close the draft that ``bundle`` sent where a human's final report of its order is there; None where there is
        none yet. Raises as `send`.
        """
        with self._connect() as server:
            search, base = functools.partial(self._matches, server, bundle), self.url.rstrip("/")
            patients = Patients(search, base, self.patient_system)
            found = closing(bundle, search, base, patients, self.accession_system)
            if not found.done:
                return None
            if found.bundle is None:
                return Receipt((), (), notes=(found.note,))
            got = self._deliver(server, found.bundle, search, identifying_texts(bundle), ids)
            return replace(got, notes=(found.note, *got.notes))

    def _deliver(
        self,
        server: Connection,
        bundle: dict[str, Any],
        search: Search,
        texts: frozenset[str],
        ids: StoredIds | None,
    ) -> Receipt:
        """Post ``bundle`` as the server takes it. ``texts`` identify the patient. Raises as `send`."""
        if self.singly:
            secrets = frozenset(texts | server.secrets)
            return Singly(server, search, Unsaved() if ids is None else ids, self._place, secrets).post(bundle)
        response, posted, more = self._post(server, bundle, search)
        secrets = frozenset(texts | server.secrets)
        if not response.is_success:
            raise failure(response.status_code, response, self._place, secrets)
        got = sorted_out(receipt(response, self._place, secrets), posted)
        return replace(got, notes=more)

    def _post(
        self, server: Connection, bundle: dict[str, Any], search: Search
    ) -> tuple[httpx.Response, dict[str, Any], tuple[str, ...]]:
        """The response to ``bundle``, the Bundle that was finally posted, and notes for the operator.

        Answered 412: what the server has more than once is named by identifier, and the rest is posted once more.

        Raises
        ------
        PeerBusy
            where the 412 is about a version that the Bundle names: the resource was changed in between.
        """
        response = server.post("", json=bundle)
        if status_of(response) != PRECONDITION_FAILED:
            return response, bundle, ()
        several = duplicates(bundle, search)
        if not several:
            self._check_versions(server, bundle)
            return response, bundle, ()
        lighter = named_by_identifier(bundle, several)
        response = server.post("", json=lighter)
        if status_of(response) == PRECONDITION_FAILED:
            self._check_versions(server, lighter)
        return response, lighter, (note(several),)

    def _check_versions(self, server: Connection, bundle: dict[str, Any]) -> None:
        """Raise PeerBusy unless every version that ``bundle`` names is still the current one.

        Read, not searched for: what a search finds may be older than what the server holds.
        """
        base = self.url.rstrip("/")
        for place, version in versions(bundle).items():
            answer = server.get(f"{base}/{place}")
            if not answer.is_success or version_of(answer) != version:
                raise PeerBusy(
                    "The server has another version by now of what the report updates.",
                    where=self._place,
                    todo="It is tried again, and then settled with that version.",
                )

    def _check_race(self, settled: Settled, study: StudyState, got: Receipt) -> None:
        """Raise PeerBusy where another worker's revision of the report, or its ImagingStudy, was stored between our
        search and our post, and Rejected where an earlier revision is there that could not be searched for.
        """
        if study is StudyState.UNKNOWN and any(name.startswith("ImagingStudy/") for name in got.existing):
            raise PeerBusy(
                "The ImagingStudy was stored by another at this moment.",
                where=self._place,
                todo="It is tried again, and our series is then added to it where it may be.",
            )
        if not any(name.startswith("DiagnosticReport/") for name in got.existing):
            return
        if settled.state is State.BLIND and settled.bundle and revision_of(settled.bundle) > 1:
            raise self._not_amended()
        if settled.state is State.NEW:
            raise PeerBusy(
                "Another revision of the report, or the same, was stored at this moment.",
                where=self._place,
                todo="It is tried again, and then settled with that one.",
            )

    def _not_amended(self) -> Rejected:
        return Rejected(
            "The server has an earlier revision of the report and permits no search for it: it was not amended.",
            where=self._place,
            todo="Permit us to search for DiagnosticReport and Observation, then retry the delivery.",
        )

    def resolve(self, bundle: dict[str, Any]) -> dict[str, Any]:
        """``bundle`` with literal references to the patient and order that the server knows.

        A reference stays logical where the server finds none or more than one. Nothing is ever created. Identifiers
        travel in the body of the search (R4 3.1.1.2), so that no identifier is in a URL, which proxies and servers log.

        Raises
        ------
        Retryable, Rejected
            as `send`.
        """
        with self._connect() as server:
            return self._resolve(bundle, server)[0]

    def _resolve(self, bundle: dict[str, Any], server: Connection) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The Bundle with literal references, and notes on what could not be resolved."""
        notes: tuple[str, ...] = ()
        for kind, default in (("Patient", self.patient_system), ("ServiceRequest", self.accession_system)):
            for reference in logical_references(bundle, kind):
                query = searched(reference, default, bundle)
                if query is None:
                    continue
                pages = self._pages(server, kind, query, bundle)
                if pages is None:
                    notes += (f"the server permits no search for a {kind}: the report names it by identifier alone",)
                    continue
                meant = (item for page in pages for item in page if is_meant(item, reference, default, query))
                found = list(itertools.islice(meant, 2))
                if len(found) == 1 and kind == "ServiceRequest" and not self._is_ours(found[0], server, bundle):
                    notes += ("the order found is not shown to be this patient's: the report names it by identifier",)
                elif len(found) == 1:
                    bundle = literal(bundle, reference, name_of(found[0]))
                elif found:
                    notes += (f"more than one {kind} matches: the report names it by identifier alone",)
        return bundle, notes

    def _is_ours(self, order: dict[str, Any], server: Connection, bundle: dict[str, Any]) -> bool:
        """Whether an order shows the report's patient: accession numbers are not unique."""
        subject = patient_in(bundle)
        search = functools.partial(self._matches, server, bundle)
        patients = Patients(search, self.url.rstrip("/"), self.patient_system)
        return subject is not None and patients.whose(subject, order) is Whose.OURS

    def _matches(
        self, server: Connection, bundle: dict[str, Any], kind: str, query: Mapping[str, str]
    ) -> list[dict[str, Any]] | None:
        """Every resource that a search finds; None where the server permits no search."""
        pages = self._pages(server, kind, query, bundle)
        return None if pages is None else [item for page in pages for item in page]

    def _pages(
        self, server: Connection, kind: str, query: Mapping[str, str], bundle: dict[str, Any]
    ) -> Iterator[list[dict[str, Any]]] | None:
        """The resources of type ``kind`` that a search finds, page by page; None where the server permits no search.

        A page may hold fewer than were asked for, or none, and there may be more all the same (R4 3.1.1.3.1).
        """
        response = server.post(f"/{kind}/_search", data={**query, "_count": f"{PAGE}"})
        if response.status_code in NOT_SEARCHABLE:
            return None
        return self._onward(server, kind, self._read(server, kind, response, bundle), bundle)

    def _onward(
        self, server: Connection, kind: str, answer: dict[str, Any], bundle: dict[str, Any]
    ) -> Iterator[list[dict[str, Any]]]:
        """``answer``, the first page, and those that it leads to; each is asked for when it is wanted."""
        for _ in range(PAGES_MOST):
            yield [entry["resource"] for entry in answer.get("entry") or [] if kind_of(entry) == kind]
            onward = next((link["url"] for link in answer.get("link") or [] if link.get("relation") == "next"), None)
            if onward is None:
                return
            answer = self._page(server, kind, onward, bundle)
        raise Rejected(
            f"A search for a {kind} finds no end.",
            where=self._place,
            todo="Check the server's paging, and that it does not ignore what is searched for.",
        )

    def _page(self, server: Connection, kind: str, url: str, bundle: dict[str, Any]) -> dict[str, Any]:
        """A further page, of the same server only: the link gets the node's authorisation."""
        if origin(url) != origin(self.url):
            raise Rejected(
                "The server's next page lies on another server.", where=self._place, todo="Correct its base URL."
            )
        response = server.get(url)
        if response.status_code == GONE:
            raise PeerBusy(
                f"The server keeps the pages of its search for a {kind} no longer.",
                where=self._place,
                todo="It is tried again, with another search.",
            )
        return self._read(server, kind, response, bundle)

    def _read(self, server: Connection, kind: str, response: httpx.Response, bundle: dict[str, Any]) -> dict[str, Any]:
        if not response.is_success:
            secrets = identifying_texts(bundle) | server.secrets
            raise failure(response.status_code, response, self._place, secrets)
        try:
            answer: dict[str, Any] = response.json()
            # A searchset may also hold an OperationOutcome, which needs no id (R4 3.1.1.3.2).
            resources = [entry["resource"] for entry in answer.get("entry") or [] if kind_of(entry) == kind]
            [str(item["id"]) for item in resources]
            [str(link["url"]) for link in answer.get("link") or [] if link.get("relation") == "next"]
        except (ValueError, TypeError, KeyError, AttributeError):
            raise Rejected(
                f"The answer to a search for a {kind} is not FHIR.", where=self._place, todo="Check the server's URL."
            ) from None
        return answer

    def _connect(self) -> AbstractContextManager[Connection]:
        return connect(self.url, self.timeout, self.authorization, self.tls)

    @property
    def _place(self) -> str:
        return public_url(self.url)
