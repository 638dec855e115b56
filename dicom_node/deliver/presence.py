"""Checks by C-FIND whether a PACS still has the instances that it took."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind  # type: ignore[attr-defined]  # made at import

FIND: Final = StudyRootQueryRetrieveInformationModelFind
PENDING: Final = (0xFF00, 0xFF01)
SUCCESS: Final = 0x0000


def held(assoc: Association, paths: Iterable[Path]) -> set[str] | None:
    """SOP Instance UIDs that the PACS has of the series of the files at ``paths``.

    None where it offers no Study Root C-FIND (PS3.4 C.6.2), or a query failed.
    """
    if not any(context.abstract_syntax == FIND for context in assoc.accepted_contexts):
        return None
    found: set[str] = set()
    for study, series in {_series(path) for path in paths}:
        here = _instances(assoc, study, series)
        if here is None:
            return None
        found |= here
    return found


def _series(path: Path) -> tuple[str, str]:
    header = dcmread(path, specific_tags=["StudyInstanceUID", "SeriesInstanceUID"], stop_before_pixels=True)
    return str(header.StudyInstanceUID), str(header.SeriesInstanceUID)


def _instances(assoc: Association, study: str, series: str) -> set[str] | None:
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID = study
    query.SeriesInstanceUID = series
    query.SOPInstanceUID = ""
    found: set[str] = set()
    for status, identifier in assoc.send_c_find(query, FIND):
        if "Status" not in status:
            return None
        if status.Status in PENDING:
            if identifier is not None and "SOPInstanceUID" in identifier:
                found.add(str(identifier.SOPInstanceUID))
        elif status.Status != SUCCESS:
            return None
    return found
