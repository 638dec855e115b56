"""Settings of where results go: PACS by DICOM or DICOMweb, FHIR server, HL7 v2, folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, model_validator

from dicom_node.settings.base import Outgoing
from dicom_node.settings.hl7v2 import Hl7v2Destination
from dicom_node.settings.http import ClientTls, OAuth2, Smart
from dicom_node.settings.peers import Listener
from dicom_node.settings.privacy import Deidentify
from dicom_node.settings.quantities import Seconds, Size
from pipeline.report.sentences import Language
from pipeline.results.profile import DEFAULT_PRESET

HEADERS_OF_OURS = frozenset(
    {"accept", "accept-encoding", "authorization", "connection", "content-length", "content-type", "host"}
    | {"transfer-encoding"}
)
"""Names of HTTP headers, in lower case, that a setting may not replace."""


class DicomDestination(Outgoing):
    """A PACS that takes results by C-STORE."""

    kind: Literal["dicom"]
    """Kind of destination: `dicom` (C-STORE to a PACS), `dicomweb` (STOW-RS to a PACS,
    [destinations.md](destinations.md#a-pacs-by-dicomweb)), `fhir` (a transaction to a FHIR server), `hl7v2` (ORU^R01
    over MLLP, [hl7v2.md](hl7v2.md)) or `folder`."""
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


class DicomWebDestination(Outgoing):
    """A PACS that takes results by STOW-RS."""

    kind: Literal["dicomweb"]
    url: Annotated[str, Field(pattern=r"^https?://[^?#]+$")]
    """URL in front of `/studies`, such as `https://pacs.example/dicom-web`."""
    timeout: Annotated[Seconds, Field(gt=0)] = 30.0
    """Maximum time to wait for an answer."""
    maximum_in_flight: Annotated[int, Field(ge=1, le=64)] = 2
    """Maximum number of simultaneous requests from this machine to the server, over all destinations and workers."""
    profile: str = DEFAULT_PRESET
    """Which DICOM objects the destination gets, and in which form: a preset, or the name of one of `[profiles]`."""
    username: str = ""
    """User name for HTTP basic authentication."""
    password: SecretStr | None = None
    """Password. Set it by an environment variable rather than in the file."""
    bearer_token: SecretStr | None = None
    """Static bearer token. Set it by an environment variable rather than in the file."""
    bearer_token_file: Path | None = None
    """File that holds the bearer token. It is read for each request."""
    oauth2: OAuth2 | None = None
    headers: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")], SecretStr] = Field(default_factory=dict)
    """Further headers of each request, such as the key that a gateway wants. Set them by an environment variable rather
    than in the file."""
    tls: ClientTls | None = None
    refusals: bool = False
    """`true`: send a page with the reason (an image, `refusal.dcm`) for a series that was refused."""
    deidentify: Deidentify | None = None

    @model_validator(mode="after")
    def _one_way_to_say_who_we_are(self) -> DicomWebDestination:
        ways = {name: getattr(self, name) for name in ("bearer_token", "bearer_token_file", "oauth2")}
        given = [name for name, value in {"username": self.username or None, **ways}.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"give one of {' and '.join(given)}")
        if bool(self.username) != (self.password is not None):
            raise ValueError("username and password go together")
        ours = next((name for name in self.headers if name.lower() in HEADERS_OF_OURS), None)
        if ours is not None:
            raise ValueError(f"headers: {ours} is set by the node")
        return self


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
    bundle: Literal["transaction", "single"] = "transaction"
    """How the server takes a report: as one `transaction` with conditional creates, or each resource as a request of
    its own (`single`), the report last."""
    final_report_every: Annotated[Seconds, Field(gt=0)] | None = None
    """How often the node looks for a radiologist's final report of the same order, by which the draft is closed.
    Without it, drafts stay `preliminary`."""
    final_report_most: Annotated[Seconds, Field(gt=0)] = 14 * 86400.0
    """For how long it looks."""
    language: Language = Language.ENGLISH
    """Language of the report: `en`, `de`, `es` or `fr`."""
    objects_of: str | None = None
    """Name of the destination whose DICOM objects the report lists. Its kind must be `dicom` or `dicomweb`, without
    `deidentify`."""
    refusals: bool = False
    """`true`: send a report with the reason for a series that was refused. It names no order."""

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
    DicomDestination | DicomWebDestination | FhirDestination | Hl7v2Destination | FolderDestination,
    Field(discriminator="kind"),
]
