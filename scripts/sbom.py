"""The program of scripts/sbom: the locks and the installed packages' metadata as a CycloneDX bill of materials.

The same locks give the same bill, save for its time; SOURCE_DATE_EPOCH sets that.
"""

from __future__ import annotations

import os
import re
import sys
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from cyclonedx.exception import CycloneDxException
from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from models import registry
from models.bundle import sha256

ROOT = Path(__file__).parent.parent
LOCKS = (ROOT / "requirements.lock", ROOT / "requirements-torch.lock")
ENTRY = re.compile(r"^([A-Za-z0-9._-]+)==([^\s\\]+)((?:\s*\\\n\s+--hash=\S+)*)", re.MULTILINE)
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Pin:
    """A locked package: normalised name, version, the SHA-256 of each of its files."""

    name: str
    version: str
    hashes: tuple[str, ...]


def main(out: Path) -> None:
    bom = bill(pins(LOCKS), _time())
    text = JsonV1Dot6(bom).output_as_string(indent=1)
    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if fault:
        sys.exit(f"not a valid CycloneDX 1.6 document: {fault}")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text + "\n")
    print(f"{out}: {len(bom.components)} components")


def pins(locks: Iterable[Path]) -> tuple[Pin, ...]:
    """The packages in the locks, by name."""
    found = (entry for lock in locks for entry in ENTRY.findall(lock.read_text()))
    return tuple(
        sorted((Pin(canonicalize_name(n), v, tuple(HASH.findall(h))) for n, v, h in found), key=lambda p: p.name)
    )


def bill(locked: tuple[Pin, ...], at: datetime) -> Bom:
    """The bill: Candela, its locked dependencies, and its models."""
    own = metadata.metadata("candela")
    root = Component(
        name="candela", version=own["Version"], type=ComponentType.APPLICATION, bom_ref="candela",
        description=own["Summary"], licenses=[LicenseFactory().make_from_string("Apache-2.0")],
    )  # fmt: skip
    packages = {pin.name: _package(pin) for pin in locked}
    models = [_model(entry) for entry in registry.entries()]
    content = "\n".join(f"{pin.name}=={pin.version}" for pin in locked)
    bom = Bom(
        components=[*packages.values(), *models],
        serial_number=uuid.uuid5(uuid.NAMESPACE_OID, content),
        metadata=BomMetaData(component=root, timestamp=at),
    )
    direct = [packages[name] for name in needs("candela") if name in packages]
    bom.register_dependency(root, [*direct, *models])
    for name, component in packages.items():
        bom.register_dependency(component, [packages[other] for other in needs(name) if other in packages])
    return bom


def needs(name: str) -> Iterator[str]:
    """The requirements of an installed package on this Python, without extras."""
    for text in metadata.requires(name) or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield canonicalize_name(requirement.name)


def _package(pin: Pin) -> Component:
    return Component(
        name=pin.name,
        version=pin.version,
        type=ComponentType.LIBRARY,
        bom_ref=f"{pin.name}=={pin.version}",
        purl=PackageURL("pypi", name=pin.name, version=pin.version),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in pin.hashes],
        licenses=_licenses(metadata.metadata(pin.name)),
    )


def _licenses(about: metadata.PackageMetadata) -> list[License]:
    """The licence that a package states: an SPDX expression (PEP 639), else its classifiers, else its free text."""
    factory = LicenseFactory()
    if expression := about.get("License-Expression"):
        return [factory.make_from_string(expression)]
    classifiers = [text for text in about.get_all("Classifier") or () if text.startswith("License :: ")]
    if classifiers:
        return [factory.make_with_name(text.rpartition(" :: ")[2]) for text in classifiers]
    line = (about.get("License") or "").strip().partition("\n")[0]
    try:
        return [factory.make_from_string(line)] if line else []
    except CycloneDxException:
        return [factory.make_with_name(line)]


def _model(entry: registry.RegisteredModel) -> Component:
    return Component(
        name=entry.name,
        version=entry.version,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=f"model:{entry.name}",
        description=entry.title,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256(path)) for path in entry.weights],
        licenses=[LicenseFactory().make_from_string("Apache-2.0")],
    )


def _time() -> datetime:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    return datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
