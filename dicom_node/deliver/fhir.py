"""Delivery of the report to a FHIR server, as a transaction in the server's release and its readers' language."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import SecretStr

from dicom_node.deliver.credentials import secret
from dicom_node.deliver.in_flight import slot
from dicom_node.deliver.stored_ids import StoredIdsFile
from dicom_node.network.tls import client_context
from dicom_node.settings.destinations import FhirDestination
from dicom_node.settings.http import Smart
from fhir.bundle.attachments import without_large
from fhir.release import Release
from fhir.report import build
from fhir.server.auth import Authorization, Bearer, SigningKey, SmartBackend, SmartClient
from fhir.server.client import FhirClient
from fhir.server.urls import origin
from pipeline.errors import NotYet
from pipeline.report.sentences import Language
from pipeline.report.stored import from_json, page_filename, stored_in
from pipeline.report.withdrawal import withdrawal_in


class FhirSender:
    """Builds the Bundle from the run's stored report content and posts it. Raises the errors of `fhir.server.client`.

    ``locks`` is a folder for the locks that keep the requests in flight to one server below ``maximum_in_flight``;
    ``zone`` is the site's time zone, None where it is not set.
    """

    def __init__(self, destination: FhirDestination, locks: Path, zone: ZoneInfo | None = None) -> None:
        self._destination = destination
        self._zone = zone
        self._locks = locks
        self._client = client_for(destination)
        self._release = Release(destination.release)
        self._language = destination.language

    def send(self, files: tuple[Path, ...]) -> str:
        """See `Sender.send`. With a withdrawal among ``files``, the report is entered in error."""
        most, wait = self._destination.maximum_in_flight, self._destination.timeout
        withdrawal = withdrawal_in(files)
        with slot(self._locks, origin(self._destination.url), most, wait):
            ids = StoredIdsFile(files[0].parent, self._destination.url) if self._client.singly else None
            if withdrawal is not None:
                return str(self._client.withdraw(self._built(files), withdrawal, ids))
            return str(self._client.send(self._bundle(files), ids))

    def close(self, files: tuple[Path, ...]) -> str:
        """Close the draft of an earlier `send` where a human's final report of its order is there.

        Raises
        ------
        NotYet
            where the server has no such report yet.
        Retryable, Rejected
            as `send`.
        """
        most, wait = self._destination.maximum_in_flight, self._destination.timeout
        with slot(self._locks, origin(self._destination.url), most, wait):
            ids = StoredIdsFile(files[0].parent, self._destination.url) if self._client.singly else None
            done = self._client.close(self._built(files), ids)
        if done is None:
            raise NotYet(
                "There is no final report of the order yet.",
                todo="The node looks again.",
                retry_after=self._destination.final_report_every,
            )
        return str(done)

    def _bundle(self, files: tuple[Path, ...]) -> dict[str, Any]:
        bundle = self._built(files)
        most = self._destination.maximum_attachment_bytes
        return bundle if most is None else without_large(bundle, most)

    def _built(self, files: tuple[Path, ...]) -> dict[str, Any]:
        """The Bundle, built from the report content among ``files``. A run of an older version left only a
        Bundle, which is sent as is.
        """
        stored = stored_in(files)
        if stored is None:
            bundle: dict[str, Any] = json.loads(files[0].read_text("utf-8"))
            return bundle
        content = from_json(stored.read_bytes(), where=str(stored)).in_zone(self._zone)
        content = content.listed_for(self._destination.objects_of)
        page, language = self._page({path.name: path for path in files})
        return build(content, release=self._release, language=self._language, pdf=page, pdf_language=language)

    def _page(self, by_name: dict[str, Path]) -> tuple[bytes | None, Language]:
        """The PDF in the destination's language; in English where the run took place before that language was
        requested.
        """
        for language in (self._language, Language.ENGLISH):
            path = by_name.get(page_filename(language))
            if path is not None:
                return path.read_bytes(), language
        return None, self._language


def client_for(destination: FhirDestination) -> FhirClient:
    """The client for the server of ``destination``. Raises BadSettings where the settings do not allow one."""
    return FhirClient(
        destination.url,
        timeout=destination.timeout,
        authorization=authorization(destination),
        tls=client_context(destination.tls) if destination.tls else None,
        patient_system=destination.patient_system,
        accession_system=destination.accession_system,
        singly=destination.bundle == "single",
    )


def authorization(destination: FhirDestination) -> Authorization | None:
    """The node's authentication: one object for each destination and process, so that tokens are reused."""
    if destination.smart is not None:
        return _smart(destination.url, destination.smart)
    if destination.bearer_token_file is not None:
        return Bearer(functools.partial(secret, destination.bearer_token_file))
    if destination.bearer_token is not None:
        return Bearer(functools.partial(secret, destination.bearer_token))
    return None


def check_secrets(destination: FhirDestination) -> None:
    """Raise BadSettings where a secret cannot be read or used."""
    if destination.smart is not None:
        signing_key(destination.smart)
    for source in (destination.bearer_token_file, destination.bearer_token):
        if source is not None:
            secret(source)


@functools.cache
def _smart(url: str, smart: Smart) -> SmartBackend:
    client = SmartClient(
        smart.client_id, functools.partial(signing_key, smart), smart.scope, smart.token_url, smart.jwks_url
    )
    return SmartBackend(url, client)


def signing_key(smart: Smart) -> SigningKey:
    """The private key, read now.

    Raises
    ------
    BadSettings
        where it cannot be read or used.
    """
    source = smart.private_key_file or smart.private_key
    assert source is not None, "the settings have one of them"
    return SigningKey.read(secret(source), smart.key_id, where=_place(source))


def _place(source: Path | SecretStr) -> str:
    return str(source) if isinstance(source, Path) else "smart.private_key"
