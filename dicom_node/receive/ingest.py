"""Ingest of instances: C-STORE and STOW-RS both store through this module."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import BinaryIO

from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import ALL_TRANSFER_SYNTAXES

from dicom_node.completion.monitor import SeriesMonitor
from dicom_node.observability.counters import Counters
from dicom_node.store.header import UNREADABLE, InstanceHeader, read_header
from dicom_node.store.instance_store import AETitles, InstanceStore, Stored
from dicom_node.store.series_index import Arrival
from pipeline.errors import NotDicom


@cache
def transfer_syntaxes() -> tuple[UID, ...]:
    """Transfer syntaxes that the installed pydicom plugins can decode; Candela accepts no others.

    Explicit VR Little Endian comes first: of several in one presentation context the listener takes the first of these,
    and an implicit one loses the VRs of private attributes.
    """
    known = [syntax for syntax in map(UID, ALL_TRANSFER_SYNTAXES) if _decodable(syntax)]
    return tuple(sorted(known, key=lambda syntax: syntax != ExplicitVRLittleEndian))


def _decodable(syntax: UID) -> bool:
    try:
        return bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


class Ingest:
    """Stores instances, reports them to the series monitor and counts them."""

    def __init__(
        self, store: InstanceStore, monitor: SeriesMonitor, counters: Counters, is_own: Callable[[Dataset], bool]
    ) -> None:
        self._store = store
        self._monitor = monitor
        self._counters = counters
        self._is_own = is_own

    def identify(self, encoded: bytes | memoryview | BinaryIO, transfer_syntax: UID) -> tuple[InstanceHeader, bool]:
        """The identifiers of a data set, and whether it is one of Candela's own results.

        Raises
        ------
        NotDicom
            where the data set cannot be read, or lacks one of the four UIDs.
        """
        header = read_header(encoded, transfer_syntax)
        try:
            return header, self._is_own(header.elements)
        except UNREADABLE as error:
            raise NotDicom(
                f"The data set cannot be read ({type(error).__name__}).", todo="Check the sender's transfer syntax."
            ) from None

    def store(
        self,
        encoded: bytes | memoryview,
        identity: tuple[InstanceHeader, bool],
        transfer_syntax: UID,
        sender: AETitles,
        association: int,
    ) -> Stored:
        """Put a data set on stable storage; ``identity`` is what `identify` returned for it.

        ``association`` is the number of the association or request that sent it.

        Raises
        ------
        OutOfResources
            where the disk is full or fails; no file remains.
        """
        header, own = identity
        stored = self._store.put(encoded, header, transfer_syntax, sender)
        self._monitor.arrived(Arrival(stored, own, association))
        if not stored.new:
            self._counters.add("instances_repeated")
        else:
            self._counters.add("instances_replaced" if stored.version > 1 else "instances_stored")
            self._counters.add("bytes_stored", len(encoded))
        return stored

    def ended(self, association: int, *, released: bool) -> None:
        """Report the end of an association or request: released by its requestor, or cut off."""
        self._monitor.association_ended(association, released=released)
