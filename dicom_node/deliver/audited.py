"""The audit record of a delivery."""

from __future__ import annotations

from dicom_node.audit.trail import ActionCode, Activity, AuditRecord, OutcomeIndicator, Party
from dicom_node.settings.destinations import (
    Destination,
    DicomDestination,
    DicomWebDestination,
    FhirDestination,
    FolderDestination,
)
from dicom_node.settings.hl7v2 import Hl7v2Destination
from fhir.server.urls import public_url


def delivery_record(
    node: str,
    name: str,
    destination: Destination | None,
    *,
    what: str,
    count: int,
    study: str,
    series: str,
    job: str,
    failure: tuple[str, bool] | None = None,
) -> AuditRecord:
    """The record of one attempt to send a result of ``count`` files to the destination called ``name``.

    ``failure`` is the code of an error and whether another attempt follows; ``destination`` is None where the settings
    no longer have it.
    """
    outcome = OutcomeIndicator.SUCCESS
    if failure is not None:
        outcome = OutcomeIndicator.MINOR_FAILURE if failure[1] else OutcomeIndicator.SERIOUS_FAILURE
    is_dicom = isinstance(destination, DicomDestination | DicomWebDestination)
    return AuditRecord(
        Activity.TRANSFERRED if is_dicom else Activity.EXPORT,
        ActionCode.CREATE,
        outcome,
        source=Party(node, "node"),
        destination=party(name, destination),
        what=what,
        count=count,
        studies=(study,),
        series=(series,),
        job=job,
        reason=failure[0] if failure else "",
    )


def party(name: str, destination: Destination | None) -> Party:
    """The destination as a party of the record: its name and address."""
    if isinstance(destination, DicomDestination):
        return Party(
            f"{name} ({destination.peer.ae_title})", "dicom", f"{destination.peer.host}:{destination.peer.port}"
        )
    if isinstance(destination, DicomWebDestination):
        return Party(name, "http", public_url(destination.url))
    if isinstance(destination, FhirDestination):
        return Party(name, "fhir", public_url(destination.url))
    if isinstance(destination, Hl7v2Destination):
        return Party(name, "hl7v2", f"{destination.host}:{destination.port}")
    if isinstance(destination, FolderDestination):
        return Party(name, "folder", str(destination.path))
    return Party(name, "node")
