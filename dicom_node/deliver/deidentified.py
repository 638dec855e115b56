"""De-identified copies of a job's images and results, for research."""

from __future__ import annotations

import hashlib
import hmac
import io
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import EncapsulatedPDFStorage

from dicom_node.store.durable import write_durably
from dicom_node.store.layout import located
from dicom_node.store.manifest import read_manifest
from pipeline.export.deidentify import deidentify
from pipeline.patient.subject import reconcile

FOLDER: Final = ".deidentified"
SOURCE_IMAGES: Final = "source-images"
"""Name of the result that represents the images that a job read; its files are the job's manifests."""


def source_images(manifest: Path, data_dir: Path) -> tuple[Path, ...]:
    """The images that ``manifest`` lists."""
    return tuple(located(item.path, data_dir) for item in read_manifest(manifest))


def is_document(path: Path) -> bool:
    """Whether the file holds pages, which cannot be de-identified."""
    return bool(read_file_meta_info(path).MediaStorageSOPClassUID == EncapsulatedPDFStorage)


def copies(
    files: tuple[Path, ...], manifest: Path, data_dir: Path, key: bytes, identity_from: str | None = None
) -> tuple[Path, ...]:
    """De-identified copies of ``files``, in a folder beside the results whose name identifies nobody.

    The same files and key give the same copies. ``manifest`` is that of the job: whether pixels may show an identity is
    decided by its images. ``identity_from`` is that of the job: images that name their patient in several ways get one
    pseudonym, that of the results.

    Raises
    ------
    MixedPatients, MixedStudies
        where the images do not name one patient and study.
    IdentityInPixels
        where the pixels may show the patient's identity.
    """
    run = manifest.parent
    name = hmac.new(key, run.name.encode(), hashlib.sha256).hexdigest()[:16]
    folder = run / FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    images = source_images(manifest, data_dir)
    source = _header(images[0])
    # A result names its patient; images are compared with each other where they are sent.
    are_results = all(path.parent == run for path in files)
    subject = None if are_results else reconcile(tuple(map(_header, images)), identity_from).header
    made = []
    for path in files:
        clean = deidentify(dcmread(path), key, source=source, subject=subject if path.parent != run else None)
        made.append(folder / (path.name if path.parent == run else f"{clean.SOPInstanceUID}.dcm"))
        data = _bytes(clean)
        if not made[-1].is_file() or made[-1].read_bytes() != data:
            write_durably(made[-1], data)
    return tuple(made)


def _header(path: Path) -> Dataset:
    return dcmread(path, stop_before_pixels=True)


def _bytes(ds: Dataset) -> bytes:
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
