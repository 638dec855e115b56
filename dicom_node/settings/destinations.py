"""Settings of where results go: PACS, FHIR server, HL7 v2, folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, model_validator

from dicom_node.settings.access import DicomPeer
from dicom_node.settings.base import Outgoing
from dicom_node.settings.hl7v2 import Hl7v2Destination
from dicom_node.settings.http import ClientTls, Smart
from dicom_node.settings.privacy import Deidentify
from pipeline.report.sentences import Language
from pipeline.results.profile import DEFAULT_PRESET


class DicomDestination(DicomPeer, Outgoing):
    """A PACS that takes results by C-STORE.

    ``commitment``: a result counts as delivered when the PACS has committed itself to keep it (PS3.4 annex J).
    ``commitment_timeout``: seconds to wait for that, before the result is sent and asked for again.
    ``refusals``: also a page with the reason where a series was not read.
    """

    kind: Literal["dicom"]
    timeout: Annotated[float, Field(gt=0)] = 30.0
    profile: str = DEFAULT_PRESET
    commitment: bool = False
    commitment_timeout: Annotated[float, Field(gt=0)] = 60.0
    refusals: bool = False
    deidentify: Deidentify | None = None


class FhirDestination(Outgoing):
    """A FHIR server that takes the report as a transaction Bundle, in its ``release`` and its readers' ``language``.

    ``patient_system`` and ``accession_system`` are the identifier systems (URIs) of patients and orders whose DICOM
    issuer names none. Without them such a patient is not searched for and stands as a logical reference.
    ``objects_of`` names the PACS whose DICOM objects a report lists; without it the first PACS of the rule.
    ``refusals``: also what was refused, where a rule had given it to a model.
    ``smart``, ``bearer_token`` or ``bearer_token_file``, one at most, says who we are; ``tls`` how TLS is spoken.
    """

    kind: Literal["fhir"]
    url: str
    timeout: Annotated[float, Field(gt=0)] = 30.0
    maximum_in_flight: Annotated[int, Field(ge=1, le=64)] = 2
    maximum_attachment_bytes: Annotated[int, Field(ge=0)] | None = None
    bearer_token: SecretStr | None = None
    bearer_token_file: Path | None = None
    smart: Smart | None = None
    tls: ClientTls | None = None
    patient_system: str | None = None
    accession_system: str | None = None
    release: Literal["R4", "R5"] = "R4"
    language: Language = Language.ENGLISH
    objects_of: str | None = None
    refusals: bool = False

    @model_validator(mode="after")
    def _one_way_to_say_who_we_are(self) -> FhirDestination:
        given = [name for name in ("bearer_token", "bearer_token_file", "smart") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give one of {' and '.join(given)}")
        return self


class FolderDestination(Outgoing):
    """A folder that takes the result files (for interface engines and researchers). ``refusals`` as for a PACS."""

    kind: Literal["folder"]
    path: Path
    profile: str = DEFAULT_PRESET
    refusals: bool = False
    deidentify: Deidentify | None = None


Destination = Annotated[
    DicomDestination | FhirDestination | Hl7v2Destination | FolderDestination, Field(discriminator="kind")
]
