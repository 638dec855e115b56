"""Patient and study of stored series, read from one file of each when they are shown. Nothing is written anywhere."""

from __future__ import annotations

from typing import Final

import pydicom
from pydicom.dataset import Dataset

from dicom_node.store.worklist import StudyList
from dicom_node.web.api.schemas import Identity
from dicom_node.web.recent import Recent
from pipeline.patient.naming import text_of
from pipeline.reading.files import UNREADABLE

KEPT: Final = 5000
SHOWN: Final = (
    "SpecificCharacterSet",
    "StudyDate",
    "AccessionNumber",
    "StudyDescription",
    "SeriesDescription",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
)


class Identities:
    """Reads headers, and keeps those of the last series in memory. Threads may share it."""

    def __init__(self, studies: StudyList) -> None:
        self._studies = studies
        self._headers: Recent[str, Dataset] = Recent(KEPT, self._read)

    def of(self, series_instance_uid: str) -> Identity:
        """Patient and study of a series; empty texts where no file of it can be read."""
        header = self._header(series_instance_uid)
        return Identity(
            patient_name=_name(text_of(header, "PatientName")),
            patient_id=text_of(header, "PatientID"),
            birth_date=_day(text_of(header, "PatientBirthDate")),
            sex=text_of(header, "PatientSex"),
            accession_number=text_of(header, "AccessionNumber"),
            study_date=_day(text_of(header, "StudyDate")),
            study_description=text_of(header, "StudyDescription"),
        )

    def description(self, series_instance_uid: str) -> str:
        """SeriesDescription."""
        return text_of(self._header(series_instance_uid), "SeriesDescription")

    def _header(self, series_instance_uid: str) -> Dataset:
        return self._headers.get(series_instance_uid) or Dataset()

    def _read(self, series_instance_uid: str) -> Dataset | None:
        path = self._studies.sample(series_instance_uid)
        if path is None:
            return None
        try:
            return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(SHOWN))
        except (*UNREADABLE, FileNotFoundError):
            return None


def _name(value: str) -> str:
    """PatientName as people write it: family name, given names; of its first component group that has any."""
    group = next((part for part in value.split("=") if part.strip("^ ")), "")
    family, given, middle, prefix, suffix = (*(part.strip() for part in group.split("^")), *[""] * 5)[:5]
    first = " ".join(filter(None, (prefix, given, middle, suffix)))
    return ", ".join(filter(None, (family, first)))


def _day(value: str) -> str:
    """A date (DA) with hyphens; any other text as it is."""
    return f"{value[:4]}-{value[4:6]}-{value[6:]}" if len(value) == 8 and value.isdigit() else value
