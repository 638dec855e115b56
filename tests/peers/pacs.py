"""A real Storage SCP that counts what it got, by pynetdicom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Self

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.transport import ThreadedAssociationServer

from tests.peers.ports import free_port


class Pacs:
    """Counts stores by SOP Instance UID. ``answer`` gives the status for each; the port stays over stop and start."""

    def __init__(
        self,
        *,
        port: int | None = None,
        sop_classes: Sequence[str] | None = None,
        transfer_syntaxes: Sequence[str] = (ExplicitVRLittleEndian, ImplicitVRLittleEndian),
        known_callers: Sequence[str] = (),
        answer: Callable[[evt.Event], int] = lambda event: 0x0000,
    ) -> None:
        self.port = port or free_port()
        self.stored: Counter[str] = Counter()
        self.received: list[evt.Event] = []
        self.associations = 0
        self.answer = answer
        self._ae = AE("PACS")
        self._ae.require_calling_aet = list(known_callers)
        names = sop_classes or [str(context.abstract_syntax) for context in AllStoragePresentationContexts]
        for name in names:
            self._ae.add_supported_context(name, list(transfer_syntaxes))
        self._server: ThreadedAssociationServer | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_REQUESTED, self._requested)]
        self._server = self._ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server = None

    def _requested(self, event: evt.Event) -> None:
        self.associations += 1

    def _store(self, event: evt.Event) -> int:
        status = self.answer(event)
        if status == 0x0000 or status >> 12 == 0xB:
            self.stored[str(event.request.AffectedSOPInstanceUID)] += 1
            self.received.append(event)
        return status
