"""A response reaches the caller that waits for it, and never the reactor."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from dicom_node.network.entity import application_entity
from tests.peers.ports import free_port


@pytest.fixture
def port() -> Iterator[int]:
    """Of a peer that answers C-ECHO."""
    peer = AE("PEER")
    peer.add_supported_context(Verification)
    port = free_port()
    server = peer.start_server(("127.0.0.1", port), block=False)
    assert server is not None
    yield port
    server.shutdown()


def busy_machine(event: evt.Event) -> None:
    """The reactor is late when it passes its checkpoint; the caller is later still when it asks for the response."""
    checkpoint, dimse = event.assoc._reactor_checkpoint, event.assoc.dimse
    passes, sends = checkpoint.wait, dimse.send_msg

    def passes_late() -> None:
        passes()
        time.sleep(0.1)

    def sent_long_ago(*message: object) -> None:
        sends(*message)
        time.sleep(0.3)

    checkpoint.wait, dimse.send_msg = passes_late, sent_long_ago


def test_no_response_is_lost_on_a_busy_machine(port: int) -> None:
    """pynetdicom's own checkpoint loses the first of these responses: the echo ends at the DIMSE timeout."""
    ae = application_entity("CANDELA")
    ae.add_requested_context(Verification)
    ae.dimse_timeout = 2
    assoc = ae.associate("127.0.0.1", port, evt_handlers=[(evt.EVT_ESTABLISHED, busy_machine)])
    assert [assoc.send_c_echo().get("Status") for _ in range(3)] == [0] * 3
    assoc.release()
    assert assoc.is_released


def test_an_association_that_has_ended_holds_no_caller(port: int) -> None:
    ae = application_entity("CANDELA")
    ae.add_requested_context(Verification)
    assoc: Association = ae.associate("127.0.0.1", port)
    assoc.abort()
    assoc.join(10)
    begun = time.monotonic()
    assoc._reactor_checkpoint.clear()
    assert time.monotonic() - begun < 5


def test_a_rejection_that_comes_at_once_is_one() -> None:
    """Though the connection is closed before the requestor looks at it."""
    peer = AE("PEER")
    peer.add_supported_context(Verification)
    peer.require_called_aet = True
    port = free_port()
    server = peer.start_server(("127.0.0.1", port), block=False)
    assert server is not None
    ae = application_entity("CANDELA")
    ae.add_requested_context(Verification)
    late = (evt.EVT_REQUESTED, lambda _: time.sleep(0.5))
    assoc = ae.associate("127.0.0.1", port, ae_title="OTHER", evt_handlers=[late])
    server.shutdown()
    assert assoc.is_rejected
    assert not assoc.is_aborted
