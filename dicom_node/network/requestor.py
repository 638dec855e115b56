"""Requestors without two races of pynetdicom 3.0: a response that the reactor takes, a rejection that comes too soon.

pynetdicom 3.0 pauses the reactor thread of an association while a caller sends a request, so that the caller alone
takes the response. The reactor announces the pause (`_is_paused`) before it waits, and may pass the wait just then:
the caller then relies on a pause that is over, the reactor takes the response as a request of the peer and drops it,
and the caller waits until the DIMSE timeout. Seen on a busy machine: a C-STORE that the peer had answered ended after
20 s without a status. Relies on names private to pynetdicom 3.0.
"""

from __future__ import annotations

import threading
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE

REJECTED = (1, 2)
"""Results of an A-ASSOCIATE response (PS3.8 7.1.1.7): rejected, permanently or for now."""


class Checkpoint:
    """Takes the place of an association's `_reactor_checkpoint`: `clear` returns when the reactor waits for `set`."""

    def __init__(self, assoc: Association) -> None:
        self._assoc = assoc
        self._changed = threading.Condition()
        self._open = True
        self._standing = False

    def set(self) -> None:
        """Let the reactor go on."""
        with self._changed:
            self._open, self._standing = True, False
            self._changed.notify_all()

    def clear(self) -> None:
        """Stop the reactor at its next `wait`, and return when it stands there, or has ended.

        The reactor's own thread, which serves a request of the peer, does not wait for itself.
        """
        with self._changed:
            self._open = False
            while threading.current_thread() is not self._assoc and self._assoc.is_alive() and not self._standing:
                self._changed.wait(0.05)

    def wait(self) -> None:
        """Called by the reactor alone: stand still until `set`, also where another `clear` follows at once."""
        with self._changed:
            while not self._open:
                self._standing = True
                self._changed.notify_all()
                self._changed.wait()


class Requestor(AE):
    """An application entity whose associations have a `Checkpoint`, and know a rejection that came very soon."""

    def associate(self, *args: Any, **options: Any) -> Association:
        """See `pynetdicom.AE.associate`.

        pynetdicom takes an association whose connection is closed for one that could not connect. Where the peer's
        rejection has closed it by then, the rejection still waits to be read.
        """
        options["evt_handlers"] = [(evt.EVT_REQUESTED, _install), *(options.get("evt_handlers") or ())]
        assoc = super().associate(*args, **options)
        answer: Any = assoc.dul.peek_next_pdu()
        if assoc.is_aborted and isinstance(answer, A_ASSOCIATE) and answer.result in REJECTED:
            assoc.acceptor.primitive, assoc.is_rejected, assoc.is_aborted = answer, True, False
        return assoc


def _install(event: evt.Event) -> None:
    """Before the reactor starts: pynetdicom starts it once the association is established."""
    event.assoc._reactor_checkpoint = Checkpoint(event.assoc)  # type: ignore[assignment]  # noqa: SLF001
