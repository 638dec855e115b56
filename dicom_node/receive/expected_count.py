"""How many instances a PACS says a series has, by C-FIND."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import
    StudyRootQueryRetrieveInformationModelFind,
)

from dicom_node.settings import FindCount
from pipeline.errors import PeerBusy, PeerUnavailable, Rejected

TIMEOUT = 10.0
"""Seconds for the connection, the association and each answer."""
PENDING = (0xFF00, 0xFF01)


class FindCounter:
    """Asks the PACS ``source``, as ``ae_title``, for Number of Series Related Instances (0020,1209).

    Study Root Query/Retrieve Information Model, series level (PS3.4 C.6.2.1, C.3.4).
    """

    def __init__(self, source: FindCount, ae_title: str, timeout: float = TIMEOUT) -> None:
        self._source = source
        self._ae = AE(ae_title)
        self._ae.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
        self._ae.connection_timeout = self._ae.acse_timeout = timeout
        self._ae.dimse_timeout = self._ae.network_timeout = timeout

    def __call__(self, series_instance_uid: str, study_instance_uid: str, /) -> int | None:
        """The number; None where the PACS has no such series, or does not say.

        Raises
        ------
        PeerUnavailable
            where there is no association or no answer in time.
        PeerBusy, Rejected
            where the PACS answers with a failure: 0xA700 (out of resources), or any other.
        """
        source = self._source
        where = f"{source.ae_title} at {source.host}:{source.port}"
        assoc = self._ae.associate(source.host, source.port, ae_title=source.ae_title)
        if not assoc.is_established:
            raise PeerUnavailable("No association for C-FIND.", where=where, todo="Check its AE title, host and port.")
        try:
            answers = assoc.send_c_find(
                _query(series_instance_uid, study_instance_uid), StudyRootQueryRetrieveInformationModelFind
            )
            number = None
            for status, identifier in answers:
                code = status.get("Status")
                if code is None:
                    raise PeerUnavailable("No answer to C-FIND.", where=where)
                if code in PENDING:
                    number = _number(identifier, series_instance_uid) if number is None else number
                elif code != 0x0000:
                    kind = PeerBusy if code == 0xA700 else Rejected
                    raise kind(f"C-FIND failed with status 0x{code:04X}.", where=where)
            return number
        finally:
            if assoc.is_established:
                assoc.release()


def _query(series_instance_uid: str, study_instance_uid: str) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = "SERIES"
    query.StudyInstanceUID = study_instance_uid
    query.SeriesInstanceUID = series_instance_uid
    query.NumberOfSeriesRelatedInstances = None
    return query


def _number(identifier: Dataset | None, series_instance_uid: str) -> int | None:
    """The count, from an answer about this very series: some PACS answer a key that they do not know with all."""
    if identifier is None or identifier.get("SeriesInstanceUID") != series_instance_uid:
        return None
    value = identifier.get("NumberOfSeriesRelatedInstances")
    return int(value) if value is not None else None
