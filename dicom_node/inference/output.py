"""Writes a run's results to a folder. A crash at any moment leaves either nothing or whole files."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.dataset import Dataset

from dicom_node.deliver.fhir_file import BUNDLE
from dicom_node.store.durable import write_durably
from pipeline.export.nifti import build as build_nifti
from pipeline.report.sentences import Language
from pipeline.report.stored import EARLIER_FILENAME, FILENAME, page_filename, to_json
from pipeline.results.result_object import ResultObject
from pipeline.summary import summary

if TYPE_CHECKING:
    from pipeline.process import Processed

SUMMARY = "summary.json"
PREVIEWS = "previews"


def write_results(
    processed: Processed,
    folder: Path,
    *,
    bundle: bytes | None = None,
    nifti: bool = False,
    channels: list[dict[str, str]] | None = None,
) -> dict[str, Any]:
    """Write objects, previews (PNG) of pictures, the PDF, the report content and, last, summary.json.

    Returns the summary. With ``bundle`` also the FHIR Bundle. The summary repeats ``channels``: which series
    fills which channel, and why.

    With ``nifti`` also volume, mask and heat map as NIfTI, which the summary names under ``nifti``. If the summary
    exists, all other files do.
    """
    remove_results(folder)
    (folder / PREVIEWS).mkdir(parents=True, exist_ok=True)
    _write_objects(processed.objects, folder)
    for language, page in processed.pages.items():
        write_durably(folder / page_filename(language), page)
    write_durably(folder / FILENAME, to_json(processed.content))
    if bundle is not None:
        write_durably(folder / BUNDLE, bundle)
    content = summary(processed)
    if channels:
        content["channels"] = channels
    if nifti:
        files = build_nifti(processed.volume, processed.findings)
        for file in files:
            write_durably(folder / file.filename, file.data)
        content["nifti"] = [{"file": file.filename, "content": file.content} for file in files]
    write_summary(content, folder)
    return content


def write_refusal(content: dict[str, Any], page: tuple[ResultObject, ...], folder: Path) -> dict[str, Any]:
    """Write the summary ``content`` of a refusal, after its ``page`` with the reason, if there is one."""
    remove_results(folder)
    if page:
        (folder / PREVIEWS).mkdir(parents=True, exist_ok=True)
        _write_objects(page, folder)
    write_summary(content, folder)
    return content


def _write_objects(objects: tuple[ResultObject, ...], folder: Path) -> None:
    for item in objects:
        write_durably(folder / item.filename, _dicom_bytes(item.dataset))
        if item.preview is not None:
            name = Path(item.filename).with_suffix(".png").name
            write_durably(folder / PREVIEWS / name, _png_bytes(item.preview))


def remove_results(folder: Path) -> None:
    """Remove an earlier run's files from ``folder``, so that none passes for a result of this run."""
    if not (folder / SUMMARY).is_file():
        return
    earlier = json.loads((folder / SUMMARY).read_text())
    (folder / SUMMARY).unlink()
    for item in earlier["objects"]:
        (folder / item["file"]).unlink(missing_ok=True)
        (folder / PREVIEWS / Path(item["file"]).with_suffix(".png").name).unlink(missing_ok=True)
    for item in earlier.get("nifti", ()):
        (folder / item["file"]).unlink(missing_ok=True)
    for name in (BUNDLE, FILENAME, EARLIER_FILENAME, *map(page_filename, Language)):
        (folder / name).unlink(missing_ok=True)


def write_summary(content: dict[str, Any], folder: Path) -> None:
    """Write summary.json into ``folder``, in place of an earlier run's results; create the folder
    where it is missing.
    """
    remove_results(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(folder / SUMMARY, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def _dicom_bytes(ds: Dataset) -> bytes:
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _png_bytes(picture: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()
