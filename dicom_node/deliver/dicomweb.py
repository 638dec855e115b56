"""Delivery to a PACS by STOW-RS (PS3.18 10.5).

httpx and not ``dicomweb-client``: that re-encodes each file, holds the whole request in memory, tries again by itself
(with an empty body, if it was streamed), and drops the body of 409, which says why.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydicom import dcmread

from dicom_node.deliver.dicomweb_http import Answer, Connection, DicomWebServer
from dicom_node.deliver.journal import Journal
from dicom_node.deliver.negotiation import Instance, instance_of
from dicom_node.deliver.stow_response import (
    NO_SUCH_SYNTAX,
    THERE_ALREADY,
    Fate,
    NotStow,
    fate_of,
    is_later,
    reason_text,
)
from dicom_node.deliver.told import Told
from dicom_node.settings.destinations import DicomWebDestination
from fhir.server.answers import LATER, is_passing, retry_after
from pipeline.errors import BadPixels, CandelaError, PeerBusy, PeerUnavailable, Rejected
from pipeline.pixels.native import LOSSLESS, make_native

ANSWERED: Final = (200, 202, 409)
"""Statuses whose body says what became of each instance (PS3.18 10.5.3.1): all, some, none stored."""
UNSUPPORTED_MEDIA_TYPE: Final = 415
FAILED_DEPENDENCY: Final = 424
"""What Azure's DICOM service answers while its storage cannot be reached."""
CHUNK: Final = 256 << 10
THERE: Final = 0x0111
"""Status "there already", for what the server has under the same UID."""


class DicomWebSender:
    """STOW-RS to one PACS, one instance a request, so that memory holds no more than a piece of a file.

    The instances that the PACS took are noted beside the files of the result. A later `send` of the same files skips
    them, unless the PACS, asked by QIDO-RS where it offers that, has lost them. ``locks``: see `DicomWebServer`.
    """

    def __init__(self, destination: DicomWebDestination, locks: Path) -> None:
        self._server = DicomWebServer(destination, locks)

    def send(self, files: tuple[Path, ...]) -> str:
        """See `Sender.send`. An instance that the PACS refuses does not stop the others.

        Raises
        ------
        PeerUnavailable
            no connection, no whole answer in time, an answer about another instance, 5xx.
        PeerBusy
            the PACS asked for a later attempt (408, 425, 429, 503; failure reason 0xA7xx, 0x0110, 0x0213).
        Rejected
            every other answer: the PACS never takes such an instance, our identity is not accepted, or what answers is
            no STOW-RS.
        """
        instances = tuple(instance_of(path) for path in files)
        place = self._server.place
        journal = Journal(files[0].parent, place)
        told = Told(place, len(instances), "Make the PACS take such objects, then `candela jobs retry`.", journal)
        with self._server.connected() as connection:
            store = _Store(connection)
            for instance in instances:
                which = told.next()
                if journal.has(instance.sop_instance, instance.path):
                    if _still_there(connection, instance):
                        told.there += 1
                        continue
                    journal.forget([instance.sop_instance])
                try:
                    store(instance, told, which)
                except BadPixels as error:
                    told.refused.append(str(error))
        return told.receipt()


def _still_there(connection: Connection, instance: Instance) -> bool:
    """Whether the PACS still has ``instance``, which it took. Where it cannot say, assume that it has."""
    header = dcmread(instance.path, specific_tags=["StudyInstanceUID", "SeriesInstanceUID"], stop_before_pixels=True)
    path = f"/studies/{header.StudyInstanceUID}/series/{header.SeriesInstanceUID}/instances"
    answer = connection.get(path, {"SOPInstanceUID": str(instance.sop_instance), "limit": "1"})
    return not (answer.status == 204 or (answer.status == 200 and answer.body.strip() == b"[]"))


class _Store:
    """Stores the instances of one delivery. Once the PACS refuses a compressed transfer syntax, the others are decoded
    at once.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._place = connection.server.place
        self._decodes = False

    def __call__(self, instance: Instance, told: Told, which: str) -> None:
        """Store ``instance``, which is ``which`` in words, and note in ``told`` what became of it."""
        can_decode = instance.transfer_syntax in LOSSLESS
        decoded = can_decode and self._decodes
        answer = self._posted(instance, decoded=decoded)
        if can_decode and not decoded and self._wants_it_decoded(answer, instance):
            self._decodes = True
            answer = self._posted(instance, decoded=True)
        self._note(answer, instance, told, which)

    def _posted(self, instance: Instance, *, decoded: bool) -> Answer:
        native = _native(instance.path) if decoded else None
        size = instance.path.stat().st_size if native is None else len(native)
        boundary = uuid.uuid4().hex
        before = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        after = f"\r\n--{boundary}--\r\n".encode()
        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Content-Length": str(len(before) + size + len(after)),
        }

        def body() -> Iterator[bytes]:
            yield before
            with instance.path.open("rb") if native is None else io.BytesIO(native) as file:
                while piece := file.read(CHUNK):
                    yield piece
            yield after

        return self._connection.post("/studies", body, headers)

    def _wants_it_decoded(self, answer: Answer, instance: Instance) -> bool:
        if answer.status == UNSUPPORTED_MEDIA_TYPE:
            return True
        if answer.status not in ANSWERED:
            return False
        try:
            return fate_of(answer.body, instance.sop_instance) == (Fate.FAILED, NO_SUCH_SYNTAX)
        except NotStow:
            return False

    def _note(self, answer: Answer, instance: Instance, told: Told, which: str) -> None:
        if answer.status not in ANSWERED:
            raise self._refusal(answer)
        try:
            fate, reason = fate_of(answer.body, instance.sop_instance)
        except NotStow:
            raise self._not_stow(answer) from None
        if fate is Fate.UNNAMED:
            raise self._not_stow(answer)
        if fate is Fate.OTHER:
            raise PeerUnavailable(
                f"The PACS answered for another instance than the one sent ({which}): the line may be at fault.",
                where=self._place,
                todo="It is tried again.",
            )
        if fate is Fate.STORED:
            told.stored(reason, instance)
        elif reason in THERE_ALREADY:
            told.stored(THERE, instance)
        elif is_later(reason):
            raise told.busy(reason_text(reason), which, retry_after(answer.headers))
        else:
            told.refused.append(f"instance {instance.sop_instance}: {reason_text(reason)}")

    def _refusal(self, answer: Answer) -> CandelaError:
        """The error for a status that says nothing of the instance. The body, which may name patients, is not
        repeated.
        """
        status, where = answer.status, self._place
        what = f"The PACS answered {status}."
        if is_passing(status) or status == FAILED_DEPENDENCY:
            kind = PeerBusy if status in LATER else PeerUnavailable
            return kind(what, where=where, todo="It is tried again.", retry_after=retry_after(answer.headers))
        return Rejected(what, where=where, todo=_advice(status))

    def _not_stow(self, answer: Answer) -> Rejected:
        kind = answer.media_type or "no media type"
        return Rejected(
            f"The answer ({answer.status}, {kind}) does not say what became of the instance.",
            where=self._place,
            todo="Check url: it stands before /studies, and leads to no log-in page. The PACS answers in DICOM JSON.",
        )


def _native(path: Path) -> bytes:
    """The file at ``path`` with its pixel data decoded. Raises BadPixels where they are damaged."""
    ds = dcmread(path)
    make_native(ds)
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _advice(status: int) -> str:
    if status in (401, 403):
        return "Check user, password or token and what it permits."
    if status == 404 or 300 <= status < 400:
        return "Check url: it stands before /studies."
    if status == 413:
        return "Let the PACS, or the proxy before it, take larger requests."
    return "Correct what the PACS objects to (see its log), then `candela jobs retry`."
