"""Settings of where results go: PACS, FHIR server, HL7 v2, folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, model_validator

from dicom_node.settings.base import Outgoing
from dicom_node.settings.hl7v2 import Hl7v2Destination
from dicom_node.settings.http import ClientTls, Smart
from dicom_node.settings.peers import Listener
from dicom_node.settings.privacy import Deidentify
from dicom_node.settings.quantities import Seconds, Size
from pipeline.report.sentences import Language
from pipeline.results.profile import DEFAULT_PRESET


class DicomDestination(Outgoing):
    """A PACS that takes results by C-STORE."""

    kind: Literal["dicom"]
    """Kind of destination: `dicom` (C-STORE to a PACS), `fhir` (a transaction to a FHIR server), `hl7v2` (ORU^R01 over
    MLLP, [hl7v2.md](hl7v2.md)) or `folder`."""
    peer: Listener
    """Name of the PACS in `[peers.NAME]`."""
    timeout: Annotated[Seconds, Field(gt=0)] = 30.0
    """Maximum time to wait for an answer."""
    profile: str = DEFAULT_PRESET
    """Which DICOM objects the destination gets, and in which form: a preset, or the name of one of `[profiles]`."""
    commitment: bool = False
    """`true`: a result counts as delivered when the PACS has given storage commitment for it. The PACS must be in
    `receive.allow`, because it reports by calling the node."""
    commitment_timeout: Annotated[Seconds, Field(gt=0)] = 60.0
    """Maximum time to wait for the report of storage commitment before the result is sent and commitment requested
    again. A later report still counts."""
    refusals: bool = False
    """`true`: send a page with the reason (an image, `refusal.dcm`) for a series that was refused."""
    deidentify: Deidentify | None = None


class FhirDestination(Outgoing):
    """A FHIR server that takes the report as a transaction Bundle."""

    kind: Literal["fhir"]
    url: str
    """Base URL of the FHIR server."""
    timeout: Annotated[Seconds, Field(gt=0)] = 30.0
    """Maximum time to wait for an answer."""
    maximum_in_flight: Annotated[int, Field(ge=1, le=64)] = 2
    """Maximum number of simultaneous requests from this machine to the server, over all destinations and workers."""
    maximum_attachment_bytes: Annotated[Size, Field(ge=0)] | None = None
    """Maximum size of an attachment (a PDF, a picture). A larger one is sent without content, with its size and
    hash."""
    bearer_token: SecretStr | None = None
    """Static bearer token. Set it by an environment variable rather than in the file."""
    bearer_token_file: Path | None = None
    """File that holds the bearer token. It is read for each request."""
    smart: Smart | None = None
    tls: ClientTls | None = None
    patient_system: str | None = None
    """Identifier system (URI) of patient identifiers whose DICOM issuer is absent. Without it, the node does not search
    for such a patient: the report names the patient by identifier only."""
    accession_system: str | None = None
    """Identifier system (URI) of accession numbers whose DICOM issuer is absent. Without it, the node does not search
    for the ServiceRequest of such an accession number."""
    release: Literal["R4", "R5"] = "R4"
    """FHIR release that the server speaks: `R4` (4.0.1) or `R5` (5.0.0)."""
    language: Language = Language.ENGLISH
    """Language of the report: `en`, `de`, `es` or `fr`."""
    objects_of: str | None = None
    """Name of the destination whose DICOM objects the report lists. Its kind must be `dicom`, without `deidentify`."""
    refusals: bool = False
    """`true`: send a cancelled report with the reason for a series that was refused."""

    @model_validator(mode="after")
    def _one_way_to_say_who_we_are(self) -> FhirDestination:
        given = [name for name in ("bearer_token", "bearer_token_file", "smart") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give one of {' and '.join(given)}")
        return self


class FolderDestination(Outgoing):
    """A folder that takes the result files (for interface engines and researchers)."""

    kind: Literal["folder"]
    path: Path
    """Folder for the files, with a sub-folder for each series."""
    profile: str = DEFAULT_PRESET
    """Which DICOM objects the destination gets, and in which form: a preset, or the name of one of `[profiles]`."""
    refusals: bool = False
    """`true`: send a page with the reason (an image, `refusal.dcm`) for a series that was refused."""
    deidentify: Deidentify | None = None


Destination = Annotated[
    DicomDestination | FhirDestination | Hl7v2Destination | FolderDestination, Field(discriminator="kind")
]
