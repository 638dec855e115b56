"""The CapabilityStatement of the FHIR client, in R4 and R5. A test compares it with what the client sends and asks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from typing import Final

from dicom_node.conformance.markdown import table
from fhir.release import Json, Release
from fhir.server.transport import FHIR_JSON

DATE: Final = "2026-11-30"
"""When the statement last changed; FHIR requires it."""
VERSIONS: Final = {Release.R4: "4.0.1", Release.R5: "5.0.0"}
R4_ONLY: Final = frozenset({Release.R4})
R5_ONLY: Final = frozenset({Release.R5})


@dataclass(frozen=True)
class Exchange:
    """What the client does with resources of type ``kind``. ``search``: the parameters that it searches by.

    ``creates``: by conditional create in a transaction; ``updates``: the version that was read, in a transaction.
    """

    kind: str
    use: str
    search: tuple[str, ...]
    creates: bool = True
    updates: bool = False
    releases: frozenset[Release] = frozenset(Release)

    @property
    def interactions(self) -> tuple[str, ...]:
        """Codes of the interactions, as `rest.resource.interaction` has them."""
        found = [("create", self.creates), ("read", self.updates), ("update", self.updates)]
        return (*(code for code, does in found if does), *(("search-type",) if self.search else ()))


EXCHANGES: Final = (
    Exchange("Patient", "found by identifier, never created", ("identifier", "_id"), creates=False),
    Exchange("ServiceRequest", "found by accession number, never created", ("identifier", "subject"), creates=False),
    Exchange("ImagingStudy", "created; ours are updated, others are only referred to", ("identifier",), updates=True),
    Exchange("Device", "the algorithm", ("identifier",)),
    Exchange("BodyStructure", "a region", ("identifier", "_tag"), updates=True),
    Exchange("Observation", "presence, probabilities, measurements", ("identifier", "_tag"), updates=True),
    Exchange("Media", "the key picture", ("identifier", "_tag"), updates=True, releases=R4_ONLY),
    Exchange("DocumentReference", "the key picture", ("identifier", "_tag"), updates=True, releases=R5_ONLY),
    Exchange("ImagingSelection", "segment, explanation", ("identifier", "_tag"), updates=True, releases=R5_ONLY),
    Exchange(
        "DiagnosticReport",
        "the report, preliminary or amended; final ones of the order are read",
        ("identifier", "based-on"),
        updates=True,
    ),
    Exchange("Provenance", "which device made it from what", ("_tag",)),
    Exchange("AuditEvent", "the audit trail, where `audit.repository` is set", (), releases=R4_ONLY),
)
PARAMETER_TYPES: Final = {
    "identifier": "token",
    "_id": "token",
    "_tag": "token",
    "subject": "reference",
    "based-on": "reference",
}


def exchanges(release: Release) -> Iterable[Exchange]:
    """Those of ``release``."""
    return (item for item in EXCHANGES if release in item.releases)


def capability_statement(release: Release) -> Json:
    """The statement as JSON, checked by the models of ``release``."""
    version = metadata.version("candela")
    return release.make(
        "CapabilityStatement",
        id=f"candela-client-{release.value.lower()}",
        url=f"urn:candela:capability-statement:{release.value}",
        version=version,
        name="CandelaClient",
        title=f"Candela as a FHIR {release.value} client",
        status="active",
        date=DATE,
        kind="capability",
        description=(
            "Posts each report as one transaction of conditional creates, and of updates that name the version read."
            " Research software: no report is final."
        ),
        software={"name": "Candela", "version": version},
        fhirVersion=VERSIONS[release],
        format=[FHIR_JSON],
        rest=[
            {
                "mode": "client",
                "documentation": "Searches are POST [type]/_search with _count, read to the last page.",
                "security": {
                    "service": [
                        {
                            "coding": [
                                {
                                    "system": "http://terminology.hl7.org/CodeSystem/restful-security-service",
                                    "code": "SMART-on-FHIR",
                                }
                            ]
                        }
                    ],
                    "description": "SMART Backend Services (private_key_jwt), a bearer token, mutual TLS, or none.",
                },
                "resource": [_resource(item) for item in exchanges(release)],
                "interaction": [{"code": "transaction"}],
            }
        ],
    )


def _resource(item: Exchange) -> Json:
    return {
        "type": item.kind,
        "documentation": f"{item.use}.",
        "interaction": [{"code": code} for code in item.interactions],
        "versioning": "versioned-update" if item.updates else None,
        "conditionalCreate": True if item.creates else None,
        "searchParam": [{"name": name, "type": PARAMETER_TYPES[name]} for name in item.search],
    }


def fhir_exchanges() -> list[str]:
    """What the client does with each type of resource."""
    rows = []
    for item in EXCHANGES:
        only = "" if len(item.releases) > 1 else f" ({next(iter(item.releases)).value})"
        does = ["conditional create"] * item.creates + ["update of a version", "read"] * item.updates
        rows.append((f"{item.kind}{only}", item.use, ", ".join(does) or "-", ", ".join(item.search) or "-"))
    return table(("resource", "use", "in a transaction", "searched by"), rows)
