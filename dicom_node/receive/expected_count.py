"""How many instances a PACS says a series has, by C-FIND."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import
    StudyRootQueryRetrieveInformationModelFind,
)

from dicom_node.settings import FindCount
from pipeline.errors import PeerBusy, PeerUnavailable, Rejected

TIMEOUT = 10.0
"""Seconds for the connection, the association and each answer."""
PENDING = (0xFF00, 0xFF01)


class FindCounter:
    """Asks the PACS ``source``, as ``ae_title``, how many instances a series has.

    Study Root Query/Retrieve Information Model (PS3.4 C.6.2.1): Number of Series Related Instances (0020,1209) at
    series level; a PACS that knows the series but not that key, which is optional, is asked for the instances.
    """

    def __init__(self, source: FindCount, ae_title: str, timeout: float = TIMEOUT) -> None:
        self._where = f"{source.ae_title} at {source.host}:{source.port}"
        self._source = source
        self._ae = AE(ae_title)
        self._ae.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
        self._ae.connection_timeout = self._ae.acse_timeout = timeout
        self._ae.dimse_timeout = self._ae.network_timeout = timeout

    def __call__(self, series_instance_uid: str, study_instance_uid: str, /) -> int | None:
        """The number; None where the PACS has no such series.

        Raises
        ------
        PeerUnavailable
            where there is no association or no answer in time.
        PeerBusy, Rejected
            where the PACS answers with a failure: 0xA700 (out of resources), or any other.
        """
        source = self._source
        assoc = self._ae.associate(source.host, source.port, ae_title=source.ae_title)
        if not assoc.is_established:
            todo = "Check its AE title, host and port."
            raise PeerUnavailable("No association for C-FIND.", where=self._where, todo=todo)
        try:
            query = _query("SERIES", series_instance_uid, study_instance_uid)
            query.NumberOfSeriesRelatedInstances = None
            found = self._find(assoc, query)
            if not found:
                return None
            numbers = [answer.get("NumberOfSeriesRelatedInstances") for answer in found]
            if numbers[0] is not None:
                return int(numbers[0])
            query = _query("IMAGE", series_instance_uid, study_instance_uid)
            query.SOPInstanceUID = None
            return len({answer.get("SOPInstanceUID") for answer in self._find(assoc, query)}) or None
        finally:
            if assoc.is_established:
                assoc.release()

    def _find(self, assoc: Association, query: Dataset) -> list[Dataset]:
        """The answers about the series that was asked for: some PACS answer a key that they do not know with all."""
        found = []
        for status, identifier in assoc.send_c_find(query, StudyRootQueryRetrieveInformationModelFind):
            code = status.get("Status")
            if code is None:
                raise PeerUnavailable("No answer to C-FIND.", where=self._where)
            if code in PENDING:
                if identifier is not None and identifier.get("SeriesInstanceUID") == query.SeriesInstanceUID:
                    found.append(identifier)
            elif code != 0x0000:
                kind = PeerBusy if code == 0xA700 else Rejected
                raise kind(f"C-FIND failed with status 0x{code:04X}.", where=self._where)
        return found


def _query(level: str, series_instance_uid: str, study_instance_uid: str) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = level
    query.StudyInstanceUID = study_instance_uid
    query.SeriesInstanceUID = series_instance_uid
    return query
