"""The number of instances that a PACS counts in a series, by C-FIND."""

from __future__ import annotations

from dicom_node.network.find import finding
from dicom_node.settings.peers import FindCount
from dicom_node.settings.remotes import DicomRemote

TIMEOUT = 10.0
"""Seconds for the connection, the association and each answer."""


class FindCounter:
    """Asks the PACS ``source``, under ``ae_title``, for the number of instances of a series.

    Queries Number of Series Related Instances (0020,1209) at series level (PS3.4 C.6.2.1). That key is optional: a PACS
    that does not return it is asked for the instances. Uses Study Root, or Patient Root where the PACS rejects Study
    Root.
    """

    def __init__(self, source: FindCount, ae_title: str, timeout: float = TIMEOUT) -> None:
        self._remote = DicomRemote(kind="dicom", peer=source.peer, timeout=timeout)
        self._ae_title = ae_title

    def __call__(self, series_instance_uid: str, study_instance_uid: str, /) -> int | None:
        """The number; None where the PACS has no such series.

        Raises
        ------
        PeerUnavailable
            where there is no association or no answer in time.
        PeerBusy, Rejected
            where the PACS answers with a failure: 0xA700 (out of resources), or any other.
        """
        with finding(self._remote, self._ae_title) as find:
            found = find.series(study_instance_uid, series_instance_uid)
            return find.count(found[0]) or None if found else None
