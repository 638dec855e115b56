"""Studies, series and instances found in an archive: frozen values without patient data."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.errors import BadSettings
from pipeline.reading.validation import is_uid

WILD = re.compile(r"[*?\\]")
"""Wildcards of PS3.4 C.2.2.2.4 and the value separator, which would match unwanted studies."""


@dataclass(frozen=True)
class StudyQuery:
    """A query for the studies that match every non-empty value exactly.

    Raises
    ------
    BadSettings
        where a value has a wildcard, or the UID is not a UID.
    """

    study_instance_uid: str = ""
    accession_number: str = ""
    patient_id: str = ""

    def __post_init__(self) -> None:
        if self.study_instance_uid and not is_uid(self.study_instance_uid):
            raise BadSettings("That is not a StudyInstanceUID.", todo="Digits and dots, 64 characters at most.")
        for name, value in (("accession number", self.accession_number), ("patient ID", self.patient_id)):
            if WILD.search(value):
                raise BadSettings(
                    f"The {name} has a wildcard (*, ? or \\).",
                    todo="Give the whole value: a pattern matches other patients.",
                )


@dataclass(frozen=True)
class FoundStudy:
    """A study of the archive. ``study_date`` as in DICOM (YYYYMMDD) or empty; numbers are None where the archive states
    none.
    """

    study_instance_uid: str
    study_date: str
    modalities: tuple[str, ...]
    series: int | None
    instances: int | None


@dataclass(frozen=True)
class FoundSeries:
    """A series of the archive; ``instances`` is None where the archive states no number."""

    study_instance_uid: str
    series_instance_uid: str
    modality: str
    instances: int | None


@dataclass(frozen=True)
class FoundInstance:
    """An instance of the archive; ``sop_class_uid`` is empty where the archive does not state it."""

    sop_instance_uid: str
    sop_class_uid: str
