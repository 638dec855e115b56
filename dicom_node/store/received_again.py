"""Later versions of a job's instances that the store received after the job was made, for `candela jobs show`."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from dicom_node.store.layout import located
from dicom_node.store.manifest import StoredInstance, read_manifest
from pipeline.reading.copies import PIXELS, differences
from pipeline.reading.files import UNREADABLE

NAMED_MOST = 6


def received_again(manifest: Path, data_dir: Path) -> tuple[str, ...]:
    """One sentence for each kind of later versions that the store holds of the instances in ``manifest``.

    A job reads the versions in its manifest (docs/adr/0003), so its results are those of the earlier version. The
    sentences name header attributes without their values.
    """
    counts: Counter[str] = Counter()
    names: set[str] = set()
    for item, latest in _later(manifest, data_dir):
        differing = _differences(located(item.path, data_dir), latest)
        kind = "pixels" if PIXELS in differing else "header values"
        counts[kind] += 1
        names |= differing - {PIXELS} if kind == "header values" else frozenset()
    listed = ", ".join(sorted(names)[:NAMED_MOST]) + (", ..." if len(names) > NAMED_MOST else "")
    return tuple(
        f"{count} of its instances came again later with other {kind}{f' ({listed})' if kind != 'pixels' else ''};"
        " this job has the version before"
        for kind, count in sorted(counts.items())
    )


def _later(manifest: Path, data_dir: Path) -> list[tuple[StoredInstance, Path]]:
    """Instances whose latest version is not the one in the manifest, with the file of that version."""
    try:
        instances = read_manifest(manifest)
    except (OSError, ValueError):
        return []
    found: list[tuple[StoredInstance, Path]] = []
    latest: dict[Path, dict[str, int]] = {}
    for item in instances:
        path = located(item.path, data_dir)
        versions = latest.setdefault(path.parent, _versions(path.parent))
        name, _, version = path.stem.partition("~")
        if versions.get(name, 0) > int(version or 1):
            found.append((item, path.with_name(f"{name}~{versions[name]}.dcm")))
    return found


def _versions(folder: Path) -> dict[str, int]:
    """The highest version of each instance in ``folder``, as `dicom_node.store.instance_store` names files."""
    versions: dict[str, int] = {}
    for entry in os.listdir(folder) if folder.is_dir() else ():  # noqa: PTH208 - thousands of names, no more is asked
        name, _, version = entry.removesuffix(".dcm").partition("~")
        if entry.endswith(".dcm") and (version.isdigit() or not version):
            versions[name] = max(versions.get(name, 0), int(version or 1))
    return versions


def _differences(before: Path, after: Path) -> frozenset[str]:
    try:
        return differences(_read(before), _read(after))
    except (OSError, *UNREADABLE):
        return frozenset({PIXELS})


def _read(path: Path) -> Dataset:
    return pydicom.dcmread(path)
