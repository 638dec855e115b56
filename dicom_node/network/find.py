"""C-FIND as SCU: studies, series and instances of a PACS (PS3.4 C.4.1)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
)

from dicom_node.network.association import associated, place
from dicom_node.network.found import FoundInstance, FoundSeries, FoundStudy, StudyQuery
from dicom_node.settings.remotes import DicomRemote
from pipeline.errors import PeerBusy, PeerUnavailable, Rejected

PENDING = (0xFF00, 0xFF01)
OUT_OF_RESOURCES = 0xA700
NOT_THIS_MODEL = (0x0122, 0xA900)
"""SOP class not supported, or identifier does not match SOP class: the PACS may accept the other information model."""
ANSWERS_MOST = 100_000
PATIENCE = 6
"""A query may take this many times the timeout of a single answer."""

MODELS = (StudyRootQueryRetrieveInformationModelFind, PatientRootQueryRetrieveInformationModelFind)
"""Study Root first: Patient Root wants a patient's identifier at every level (PS3.4 C.6.1.1.2)."""


@contextmanager
def finding(remote: DicomRemote, calling_ae: str, patient_id: str = "") -> Iterator[Finder]:
    """A `Finder` on its own association; see `associated` for its errors."""
    with associated(remote, calling_ae, [build_context(model) for model in MODELS]) as assoc:
        yield Finder(assoc, remote, patient_id)


class Finder:
    """Queries over ``assoc``. ``patient_id`` is added to a Patient Root query, which some PACS do not answer without
    it.

    Every method raises

    - `PeerUnavailable` where the answer does not come in time or the association is lost;
    - `PeerBusy`, `Rejected` where the PACS answers with a failure: 0xA700 (out of resources), or any other.

    Only matches are returned: some PACS answer a key that they do not know with everything they have.
    """

    def __init__(self, assoc: Association, remote: DicomRemote, patient_id: str = "") -> None:
        self._assoc = assoc
        self._where = place(remote)
        self._patience = PATIENCE * remote.timeout
        self._patient_id = patient_id
        accepted = {str(context.abstract_syntax) for context in assoc.accepted_contexts}
        self._models = [model for model in MODELS if model in accepted]

    def studies(self, query: StudyQuery) -> tuple[FoundStudy, ...]:
        """The matching studies, the latest first."""
        keys = {
            "StudyInstanceUID": query.study_instance_uid,
            "AccessionNumber": query.accession_number,
            "PatientID": query.patient_id,
        }
        wanted = {keyword: value for keyword, value in keys.items() if value}
        optional = ("StudyDate", "ModalitiesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances")
        answers = self._find("STUDY", {**dict.fromkeys(optional), **keys})
        found = {
            str(ds.StudyInstanceUID): FoundStudy(
                str(ds.StudyInstanceUID),
                str(ds.get("StudyDate") or ""),
                _texts(ds.get("ModalitiesInStudy")),
                _number(ds, "NumberOfStudyRelatedSeries"),
                _number(ds, "NumberOfStudyRelatedInstances"),
            )
            for ds in answers
            if ds.get("StudyInstanceUID") and _is(ds, wanted)
        }
        return tuple(sorted(found.values(), key=lambda study: study.study_date, reverse=True))

    def series(self, study_instance_uid: str, series_instance_uid: str = "") -> tuple[FoundSeries, ...]:
        """The series of a study, or the one named, each with its number of instances where the PACS states it."""
        keys = {"StudyInstanceUID": study_instance_uid, "SeriesInstanceUID": series_instance_uid}
        wanted = {"SeriesInstanceUID": series_instance_uid} if series_instance_uid else {}
        found: dict[str, FoundSeries] = {}
        for ds in self._find("SERIES", {"Modality": None, "NumberOfSeriesRelatedInstances": None, **keys}):
            name = str(ds.get("SeriesInstanceUID") or "")
            if not name or not _is(ds, wanted) or ds.get("StudyInstanceUID", study_instance_uid) != study_instance_uid:
                continue
            numbers = [_number(ds, "NumberOfSeriesRelatedInstances"), found[name].instances if name in found else None]
            most = max((number for number in numbers if number is not None), default=None)
            found[name] = FoundSeries(study_instance_uid, name, str(ds.get("Modality") or ""), most)
        return tuple(found.values())

    def instances(self, study_instance_uid: str, series_instance_uid: str) -> tuple[FoundInstance, ...]:
        """The instances of a series."""
        keys = {"StudyInstanceUID": study_instance_uid, "SeriesInstanceUID": series_instance_uid}
        wanted = {"SeriesInstanceUID": series_instance_uid}
        found = {
            str(ds.SOPInstanceUID): FoundInstance(str(ds.SOPInstanceUID), str(ds.get("SOPClassUID") or ""))
            for ds in self._find("IMAGE", {**keys, "SOPInstanceUID": None, "SOPClassUID": None})
            if ds.get("SOPInstanceUID") and _is(ds, wanted)
        }
        return tuple(found.values())

    def count(self, series: FoundSeries) -> int:
        """The number of instances of the series: as the PACS states it, which is optional, else by listing them."""
        if series.instances is not None:
            return series.instances
        return len(self.instances(series.study_instance_uid, series.series_instance_uid))

    def _find(self, level: str, keys: dict[str, str | None]) -> list[Dataset]:
        """All answers, by Study Root or, where the PACS does not accept that, by Patient Root."""
        for number, model in enumerate(self._models, start=1):
            query = Dataset()
            query.QueryRetrieveLevel = level
            if model == PatientRootQueryRetrieveInformationModelFind:
                query.PatientID = self._patient_id
            for keyword, value in keys.items():
                if value or keyword not in query:
                    setattr(query, keyword, value or "")
            try:
                return list(self._answers(query, model))
            except _WrongModel as wrong:
                if number == len(self._models):
                    raise Rejected(f"C-FIND failed with status 0x{wrong.status:04X}.", where=self._where) from None
        raise Rejected("Neither Study Root nor Patient Root C-FIND is offered.", where=self._where)

    def _answers(self, query: Dataset, model: str) -> Iterable[Dataset]:
        deadline = time.monotonic() + self._patience
        for number, (status, identifier) in enumerate(self._assoc.send_c_find(query, model)):
            code = status.get("Status")
            if code is None:
                raise PeerUnavailable("No answer to C-FIND.", where=self._where)
            if code in PENDING:
                if number >= ANSWERS_MOST or time.monotonic() > deadline:
                    raise PeerUnavailable("C-FIND is answered without end, or too slowly.", where=self._where)
                if identifier is not None:
                    yield identifier
            elif code in NOT_THIS_MODEL:
                raise _WrongModel(code)
            elif code != 0x0000:
                kind = PeerBusy if code == OUT_OF_RESOURCES else Rejected
                raise kind(f"C-FIND failed with status 0x{code:04X}.", where=self._where)


class _WrongModel(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def _is(ds: Dataset, wanted: dict[str, str]) -> bool:
    """Whether an answer matches the query. One that lacks a key does not match: it may be another patient's."""
    return all(str(ds.get(keyword) or "").strip(" \0") == value for keyword, value in wanted.items())


def _number(ds: Dataset, keyword: str) -> int | None:
    """A count; None where it is absent, not a number or not positive, which means that the archive does not know it."""
    try:
        number = int(ds.get(keyword) or 0)
    except (TypeError, ValueError):
        return None
    return number if number > 0 else None


def _texts(value: object) -> tuple[str, ...]:
    if value is None or value == "":
        return ()
    return (value,) if isinstance(value, str) else tuple(str(item) for item in value)  # type: ignore[attr-defined]
