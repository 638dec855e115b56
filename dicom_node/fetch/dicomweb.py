"""A DICOMweb archive as a source: QIDO-RS, then WADO-RS for each series (PS3.18 10.6 and 10.4).

Instances are requested as they are stored (``transfer-syntax=*``) and taken one by one as they arrive, so that memory
holds one at a time. ``dicomweb-client`` is not used: it decodes each instance, holds them all, and does not keep the
bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import httpx

from dicom_node.deliver.store_status import status_text
from dicom_node.fetch.outcome import SeriesOutcome, Tally
from dicom_node.fetch.sinks import Fetched, Sink, Taker
from dicom_node.network.found import FoundSeries, FoundStudy, StudyQuery
from dicom_node.network.multipart import PartReader, media_type
from dicom_node.network.part10 import Spool
from dicom_node.settings.remotes import DicomWebRemote
from dicom_node.store.header import read_header
from pipeline.errors import CandelaError, NotDicom, PeerBusy, PeerUnavailable, Rejected, Truncated
from pipeline.reading.validation import is_uid

Query = list[tuple[str, str | int | float | bool | None]]
"""The query parameters of an httpx request."""
PAGE = 500
PAGES_MOST = 200
CHUNK = 256 << 10
DICOM_JSON = "application/dicom+json"
ANY_SYNTAX = 'multipart/related; type="application/dicom"; transfer-syntax=*'
CANNOT_UNDERSTAND, DOES_NOT_MATCH = 0xC000, 0xA900

ACCESSION, STUDY_DATE, MODALITY, MODALITIES = "00080050", "00080020", "00080060", "00080061"
PATIENT_ID, STUDY_UID, SERIES_UID = "00100020", "0020000D", "0020000E"
STUDY_SERIES, STUDY_INSTANCES, SERIES_INSTANCES = "00201206", "00201208", "00201209"


class DicomWebSource:
    """The archive ``remote``. A context manager, which keeps connections open between calls.

    Every method raises

    - `PeerUnavailable` where it cannot be reached, answers 5xx or breaks off; `PeerBusy` where it answers 429 or 503;
    - `Rejected` where it rejects the request, or its answer is not DICOMweb.
    """

    def __init__(self, remote: DicomWebRemote) -> None:
        self._where = remote.url.rstrip("/")
        headers = {"Accept-Encoding": "identity"}
        if remote.bearer_token is not None:
            headers["Authorization"] = f"Bearer {remote.bearer_token.get_secret_value()}"
        login = (remote.username, remote.password.get_secret_value())
        self._http = httpx.Client(
            base_url=self._where,
            auth=login if remote.username and remote.bearer_token is None else None,
            headers=headers,
            timeout=remote.timeout,
            trust_env=False,  # the archive is on the hospital's network; the environment's proxy is for the internet
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def studies(self, query: StudyQuery) -> tuple[FoundStudy, ...]:
        """The matching studies, the latest first."""
        keys = {STUDY_UID: query.study_instance_uid, ACCESSION: query.accession_number, PATIENT_ID: query.patient_id}
        wanted = {tag: value for tag, value in keys.items() if value}
        include = [STUDY_DATE, MODALITIES, STUDY_SERIES, STUDY_INSTANCES, ACCESSION, PATIENT_ID]
        found = [
            FoundStudy(
                _text(item, STUDY_UID),
                _text(item, STUDY_DATE),
                tuple(_values(item, MODALITIES)),
                _number(item, STUDY_SERIES),
                _number(item, STUDY_INSTANCES),
            )
            for item in self._search("/studies", wanted, include)
            if is_uid(_text(item, STUDY_UID)) and all(_text(item, tag) == value for tag, value in wanted.items())
        ]
        return tuple(sorted(found, key=lambda study: study.study_date, reverse=True))

    def series(self, study_instance_uid: str, series_instance_uid: str = "") -> tuple[FoundSeries, ...]:
        """The series of a study, or the one named, each with its number of instances where the archive states it."""
        wanted = {SERIES_UID: series_instance_uid} if series_instance_uid else {}
        items = self._search(f"/studies/{study_instance_uid}/series", wanted, [MODALITY, SERIES_INSTANCES])
        return tuple(
            FoundSeries(
                study_instance_uid, _text(item, SERIES_UID), _text(item, MODALITY), _number(item, SERIES_INSTANCES)
            )
            for item in items
            if is_uid(_text(item, SERIES_UID)) and all(_text(item, tag) == value for tag, value in wanted.items())
        )

    def retrieve(self, series: FoundSeries, sink: Sink) -> SeriesOutcome:
        """Bring a series into ``sink``. If the transfer breaks off, the outcome states what arrived and the reason."""
        path = f"/studies/{series.study_instance_uid}/series/{series.series_instance_uid}"
        tally = Tally()
        with sink.series() as taker, self._get(path, ANY_SYNTAX) as answer:
            kind, parameters = media_type(answer.headers.get("content-type", ""))
            if kind != "multipart/related":
                raise Rejected(f"WADO-RS was answered with {kind or 'no media type'}.", where=self._where)
            try:
                with _Parts(series, taker, tally) as parts:
                    reader = PartReader(parameters.get("boundary", ""), parts)
                    for chunk in answer.iter_bytes(CHUNK):
                        reader.feed(chunk)
                    reader.finish()
            except httpx.TransportError as error:
                tally.reasons.append(f"the transfer broke off ({type(error).__name__})")
            except (NotDicom, Truncated) as error:
                tally.reasons.append(error.what)
            except CandelaError as error:  # the sink can store nothing more
                tally.reasons.append(str(error))
        return SeriesOutcome(
            series.study_instance_uid,
            series.series_instance_uid,
            series.modality,
            "WADO-RS",
            series.instances,
            len(tally.came),
            len(tally.failed),
            tally.warned,
            tuple(filter(is_uid, tally.failed)),
            (*tally.reasons, *sorted(set(tally.failed.values()))),
        )

    def _search(self, path: str, wanted: Mapping[str, str], include: list[str]) -> Iterator[dict[str, Any]]:
        """QIDO-RS, page by page, until a page brings nothing new."""
        seen: set[str] = set()
        for page in range(PAGES_MOST):
            query: Query = [*wanted.items(), *(("includefield", tag) for tag in include)]
            query += [("limit", str(PAGE)), ("offset", str(page * PAGE))]
            with self._get(path, DICOM_JSON, query) as answer:
                answer.read()
                items = [] if answer.status_code == 204 else _items(answer, self._where)
            new = [item for item in items if repr(item) not in seen]
            seen.update(map(repr, new))
            yield from new
            if len(items) < PAGE or not new:
                return

    @contextmanager
    def _get(self, path: str, accept: str, query: Query | None = None) -> Iterator[httpx.Response]:
        try:
            request = self._http.build_request("GET", self._where + path, params=query, headers={"Accept": accept})
            answer = self._http.send(request, stream=True)
        except httpx.TransportError as error:
            raise PeerUnavailable(
                f"It cannot be reached ({type(error).__name__}).", where=self._where, todo="Check its address."
            ) from error
        try:
            _check(answer, self._where)
            yield answer
        finally:
            answer.close()


class _Parts:
    """Handles the parts of a WADO-RS response (`dicom_node.network.multipart.Parts`)."""

    def __init__(self, series: FoundSeries, taker: Taker, tally: Tally) -> None:
        self._series = series
        self._taker = taker
        self._tally = tally
        self._spool: Spool | None = None
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._spool is not None:
            self._spool.close()

    def begin(self, headers: Mapping[str, str]) -> None:
        self._spool = Spool(None)
        self._count += 1
        kind, _ = media_type(headers.get("content-type", "application/dicom"))
        if kind != "application/dicom":
            raise NotDicom(f"A part of the answer is {kind}.", todo="Check the archive's WADO-RS.")

    def data(self, content: bytes) -> None:
        assert self._spool is not None
        try:
            self._spool.write(content)
        except OSError as error:
            raise PeerUnavailable(
                f"An instance could not be stored temporarily ({error.strerror}).",
                todo="Free space in the temporary folder.",
            ) from error

    def end(self) -> None:
        assert self._spool is not None
        name = f"part {self._count}"
        with self._spool as spool:
            try:
                with spool.part10() as part:
                    header = read_header(part.stream, part.transfer_syntax)
                    name = header.sop_instance_uid
                    if header.series_instance_uid != self._series.series_instance_uid:
                        status = DOES_NOT_MATCH
                    else:
                        status = self._taker.take(Fetched(header, part.transfer_syntax, part.encoded))
            except NotDicom:
                status = CANNOT_UNDERSTAND
        self._spool = None
        self._tally.note(name, status, status_text(status))


def _check(answer: httpx.Response, where: str) -> None:
    """Raise the error for a status other than 2xx. The body, which may name patients, is not repeated."""
    code = answer.status_code
    if answer.is_success:
        return
    what = f"It answered {code}."
    if code in {429, 503}:
        raise PeerBusy(what, where=where, retry_after=_seconds(answer.headers.get("retry-after", "")))
    if answer.is_server_error or code == 408:
        raise PeerUnavailable(what, where=where, todo="See its log.")
    todo = "Check user, password or token." if code in {401, 403} else "Check url: it stands before /studies."
    raise Rejected(what, where=where, todo=todo)


def _seconds(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdigit() else None


def _items(answer: httpx.Response, where: str) -> list[dict[str, Any]]:
    try:
        items = answer.json()
    except ValueError:
        items = None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise Rejected("The answer is not QIDO-RS.", where=where, todo="Check url: it stands before /studies.")
    return items


def _values(item: Mapping[str, Any], tag: str) -> list[str]:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return [str(value).strip(" \0") for value in values] if isinstance(values, list) else []


def _text(item: Mapping[str, Any], tag: str) -> str:
    values = _values(item, tag)
    return values[0] if values else ""


def _number(item: Mapping[str, Any], tag: str) -> int | None:
    text = _text(item, tag)
    return int(text) or None if text.isascii() and text.isdigit() else None
