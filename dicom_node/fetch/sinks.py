"""Sinks for fetched instances: the running node, or a folder."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import

from dicom_node.network.association import associated
from dicom_node.network.tls import own_name
from dicom_node.settings.access import Tls
from dicom_node.settings.peers import DicomPeer
from dicom_node.settings.receive import Receive
from dicom_node.settings.remotes import DicomRemote
from dicom_node.store.durable import sync_folder, write_durably
from dicom_node.store.header import InstanceHeader
from dicom_node.store.instance_store import IMPLEMENTATION_CLASS_UID, implementation_version
from pipeline.errors import CandelaError, OutOfResources, PeerUnavailable

SUCCESS = 0x0000
NOT_SUPPORTED = 0x0122
STORE_TIMEOUT = 60.0


@dataclass(frozen=True)
class Fetched:
    """An instance as the archive sent it. ``encoded`` is its data set, valid until the taker returns."""

    header: InstanceHeader
    transfer_syntax: UID
    encoded: bytes | memoryview


class Taker(Protocol):
    """Stores the instances of one series."""

    def take(self, instance: Fetched) -> int:
        """Store ``instance`` and return the C-STORE status (PS3.4 B.2.3): 0x0000 once it is on stable storage.

        Raises
        ------
        PeerUnavailable, OutOfResources
            where no further instance can be stored either.
        """
        ...


class Sink(Protocol):
    """Stores series. ``name`` names the place for messages."""

    @property
    def name(self) -> str: ...

    def check(self) -> None:
        """Check before anything is fetched that the sink can store; raises where it cannot."""
        ...

    def series(self) -> AbstractContextManager[Taker]:
        """A taker for one series."""
        ...


class FolderSink:
    """Writes ``folder/<Series Instance UID>/<SOP Instance UID>.dcm``, each file whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._folder = folder

    def check(self) -> None:
        """Create the folder.

        Raises
        ------
        OutOfResources
            where it cannot be created.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutOfResources(f"The folder cannot be created ({error.strerror}).", where=self.name) from error

    @contextmanager
    def series(self) -> Iterator[Taker]:
        """See `Sink.series`."""
        yield self

    def take(self, instance: Fetched) -> int:
        """See `Taker.take`."""
        header = instance.header
        folder = self._folder / header.series_instance_uid
        try:
            folder.mkdir(exist_ok=True)
            sync_folder(self._folder)
            content = b"".join((_file_meta(instance), instance.encoded))
            write_durably(folder / f"{header.sop_instance_uid}.dcm", content)
        except OSError as error:
            raise OutOfResources(
                f"An instance could not be written ({error.strerror}).", where=self.name, todo="Free space there."
            ) from error
        return SUCCESS


class NodeSink:
    """Sends instances to the running receiver by C-STORE, so that they take the same durable way as all others.

    The receiver is the store's only writer, and what it acknowledges is on disk. ``calling_ae`` is the archive's AE
    title: the same rules apply to an instance fetched by C-GET or WADO-RS as to one that the archive sends or moves.
    ``identity`` is the node's own certificate, for a node that has no port without TLS.
    """

    def __init__(self, receive: Receive, calling_ae: str, identity: Tls | None = None) -> None:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(receive.host, receive.host)  # noqa: S104  (not bound here)
        address: dict[str, Any] = {"port": receive.port}
        if receive.require_tls and identity is not None:
            address = {"port": receive.tls_port, "tls": True, "tls_name": own_name(identity)}
        peer = DicomPeer(ae_title=receive.ae_title, host=host, **address)
        peer.known_as(identity)
        self._node = DicomRemote(kind="dicom", peer=peer, timeout=STORE_TIMEOUT)
        self._calling_ae = calling_ae
        self.name = f"the node {receive.ae_title}"

    def check(self) -> None:
        """Open and release an association.

        Raises
        ------
        PeerUnavailable
            where the node does not run or does not admit this calling AE title.
        """
        try:
            with associated(self._node, self._calling_ae, [build_context(Verification)]):
                pass
        except CandelaError as error:
            raise PeerUnavailable(
                f"The node accepts nothing: {error.what}",
                where=error.where,
                todo=f'Start it (candela serve), and name a peer with ae_title = "{self._calling_ae}" in receive.allow;'
                " or write to a folder with --out.",
            ) from error

    @contextmanager
    def series(self) -> Iterator[Taker]:
        """See `Sink.series`. Uses one association, and another where an instance needs a further
        presentation context.
        """
        taker = _NodeTaker(self._node, self._calling_ae)
        try:
            yield taker
        finally:
            taker.close()


class _NodeTaker:
    def __init__(self, node: DicomRemote, calling_ae: str) -> None:
        self._node = node
        self._calling_ae = calling_ae
        self._asked: dict[tuple[str, str], None] = {}
        self._open: contextlib.ExitStack | None = None
        self._assoc: Association | None = None

    def take(self, instance: Fetched) -> int:
        pair = (instance.header.sop_class_uid, str(instance.transfer_syntax))
        assoc = self._assoc
        if assoc is None or not assoc.is_established or pair not in self._asked:
            self.close()
            self._asked[pair] = None
            assoc = self._associate()
        context_id = _context_id(assoc, *pair)
        if context_id is None:
            return NOT_SUPPORTED
        return _store_as_it_is(assoc, context_id, instance)

    def _associate(self) -> Association:
        contexts = [build_context(sop_class, syntax) for sop_class, syntax in self._asked]
        self._open = contextlib.ExitStack()
        self._assoc = self._open.enter_context(associated(self._node, self._calling_ae, contexts))
        return self._assoc

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open = self._assoc = None


def _context_id(assoc: Association, sop_class: str, syntax: str) -> int | None:
    for context in assoc.accepted_contexts:
        if context.abstract_syntax == sop_class and context.transfer_syntax[0] == syntax:
            return context.context_id
    return None


def _store_as_it_is(assoc: Association, context_id: int, instance: Fetched) -> int:
    """C-STORE of encoded bytes. `Association.send_c_store` would decode and encode them; this follows its steps
    otherwise.

    Raises
    ------
    PeerUnavailable
        where no response comes, or one for another instance.
    """
    request = C_STORE()
    request.MessageID = 1
    request.AffectedSOPClassUID = UID(instance.header.sop_class_uid)
    request.AffectedSOPInstanceUID = UID(instance.header.sop_instance_uid)
    request.Priority = 2
    request.DataSet = BytesIO(instance.encoded)
    assoc._reactor_checkpoint.clear()  # noqa: SLF001  (pynetdicom 3.0's own order of things; the pin is narrow)
    try:
        while not assoc._is_paused:  # noqa: SLF001
            time.sleep(0.0001)
        assoc.dimse.send_msg(request, context_id)
        _, response = assoc.dimse.get_msg(block=True)
    finally:
        assoc._reactor_checkpoint.set()  # noqa: SLF001
    if not isinstance(response, C_STORE) or response.Status is None:
        assoc.abort()
        raise PeerUnavailable("The node did not answer C-STORE.", todo="See its log.")
    if response.AffectedSOPInstanceUID not in {None, request.AffectedSOPInstanceUID}:
        assoc.abort()
        raise PeerUnavailable(
            "The node answered for another instance than the one sent.", todo="The line may be at fault; fetch again."
        )
    return int(response.Status)


def _file_meta(instance: Fetched) -> bytes:
    """Preamble, prefix and file meta (PS3.10 7.1)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(instance.header.sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(instance.header.sop_instance_uid)
    meta.TransferSyntaxUID = instance.transfer_syntax
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = implementation_version()
    buffer = DicomBytesIO()
    buffer.write(b"\0" * 128 + b"DICM")
    write_file_meta_info(buffer, meta)
    return buffer.getvalue()
