"""Destinations: queue, circuit, last success; test and resume."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial

from fastapi import APIRouter

from dicom_node.deliver.probe import probe
from dicom_node.jobs.client import DestinationRow
from dicom_node.settings.destinations import (
    Destination as Target,
)
from dicom_node.settings.destinations import (
    DicomDestination,
    DicomWebDestination,
    FhirDestination,
    FolderDestination,
)
from dicom_node.web.api.problems import Problem
from dicom_node.web.api.schemas import Destination, DestinationTest, Done
from dicom_node.web.auth.gate import Here, Operates, Reads
from dicom_node.web.context import Context
from fhir.server.urls import public_url
from pipeline.errors import CandelaError

router = APIRouter(tags=["destinations"])


@router.get("/destinations")
def list_destinations(here: Here, _: Reads) -> list[Destination]:
    """Every destination of the settings."""
    return destinations_of(here)


@router.get("/destinations/{name}")
def show_destination(here: Here, _: Reads, name: str) -> Destination:
    """One destination."""
    _known(here, name)
    return next(item for item in destinations_of(here) if item.name == name)


def destinations_of(here: Context) -> list[Destination]:
    """Every destination with its state."""
    return [_view(here, row) for row in here.jobs.destinations()]


@router.post("/destinations/{name}/test")
def test_destination(here: Here, who: Operates, name: str) -> DestinationTest:
    """Ask the destination whether it answers: C-ECHO, a search, its capability statement. Nothing is sent."""
    target = _known(here, name)
    here.seen.did(who, f"destination {name} tested")
    begin = time.monotonic()
    made = partial(DestinationTest, name=name)
    try:
        text, works = probe(target, here.settings), True
    except CandelaError as error:
        text, works = str(error), False
    return made(works=works, text=text, seconds=round(time.monotonic() - begin, 3))


@router.post("/destinations/{name}/resume")
def resume(here: Here, who: Operates, name: str) -> Done:
    """Try a destination now whose circuit is open."""
    if not _known(here, name).enabled:
        raise Problem(409, "The destination is disabled.", code="DISABLED", todo="Set enabled = true and restart.")
    here.seen.did(who, f"destination {name} resumed")
    was_open = here.jobs.resume(name)
    return Done(text="One delivery is tried now." if was_open else "Its circuit is not open: nothing to resume.")


def _known(here: Context, name: str) -> Target:
    found = here.settings.destinations.get(name)
    if found is None:
        raise Problem(404, "There is no such destination.", code="NO_SUCH_DESTINATION")
    return found


def _view(here: Context, row: DestinationRow) -> Destination:
    circuit = row.circuit
    return Destination(
        name=row.name,
        kind=row.kind,
        address=address_of(row.target),
        enabled=row.target.enabled,
        comment=row.target.comment,
        contact=row.target.contact,
        circuit=str(circuit.state),
        failures=circuit.failures,
        last_code=circuit.code,
        since=_instant(circuit.since or None),
        retry_at=_instant(circuit.retry_at),
        waiting=row.waiting,
        sending=row.sending,
        last_success=here.jobs.last_success(row.name),
    )


def address_of(target: Target) -> str:
    """Where a destination is, without a secret."""
    if isinstance(target, DicomDestination):
        return f"{target.peer.ae_title} at {target.peer.host}:{target.peer.port}"
    if isinstance(target, DicomWebDestination | FhirDestination):
        return public_url(target.url)
    if isinstance(target, FolderDestination):
        return str(target.path)
    return f"{target.host}:{target.port}"


def _instant(seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
