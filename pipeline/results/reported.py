"""The report content of a series that was read: its findings, references to its result objects, and the key picture."""

from __future__ import annotations

import io
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from datetime import datetime

from PIL import Image

from pipeline.report.content import ObjectReference, ReportContent, whole_seconds
from pipeline.report.key_image import Picture
from pipeline.report.patient_study import acquired, acquired_local
from pipeline.results.provenance import ResultContext
from pipeline.results.result_object import ResultObject

WIDTH_MOST = 960
"""Pixels; as wide as a printed page shows the key picture."""
BYTES_MOST = 420_000
"""A picture that is larger even as JPEG stays in the PACS alone."""


def report_content(
    context: ResultContext,
    objects: tuple[ResultObject, ...],
    *,
    recorded: datetime,
    revision: int = 1,
    pacs: Mapping[str, str] | None = None,
) -> ReportContent:
    """The report content of a series that was read.

    ``recorded`` is the instant at which it was read, with a time zone; ``revision`` counts the revisions of the series
    from 1; ``pacs`` gives the profile of each PACS that gets results, by name, in the rule's order.

    Raises
    ------
    ValueError
        where ``recorded`` has no time zone.
    """
    header = deepcopy(context.volume.sources[0])
    return ReportContent(
        patient=context.patient,
        study=context.study,
        source=context.source,
        companions=context.companion_series,
        acquired=acquired(header),
        acquired_local=acquired_local(header),
        findings=replace(context.reported, revision=revision),
        run=context.run,
        objects=tuple(_reference(item, pacs or {}) for item in objects),
        picture=key_picture(objects),
        recorded=whole_seconds(recorded),
        pacs=None if pacs is None else tuple(pacs),
    )


def _reference(item: ResultObject, pacs: Mapping[str, str]) -> ObjectReference:
    ds = item.dataset
    number = ds.get("SeriesNumber")
    return ObjectReference(
        role=item.role,
        sop_class_uid=str(ds.SOPClassUID),
        sop_instance_uid=str(ds.SOPInstanceUID),
        series_instance_uid=str(ds.SeriesInstanceUID),
        modality=str(ds.Modality),
        series_number=None if number is None else int(number),
        series_description=str(ds.get("SeriesDescription") or ""),
        pacs=tuple(name for name, profile in pacs.items() if profile in item.profiles),
    )


def key_picture(objects: tuple[ResultObject, ...]) -> Picture | None:
    """The first overlay's preview, as PNG if that is small, else as JPEG; None without a preview that is small."""
    found = next((item for item in objects if item.role == "overlay" and item.preview is not None), None)
    if found is None or found.preview is None:
        return None
    image = Image.fromarray(found.preview)
    if image.width > WIDTH_MOST:
        image = image.resize((WIDTH_MOST, round(image.height * WIDTH_MOST / image.width)), Image.Resampling.LANCZOS)
    for content_type, options in (
        ("image/png", {"format": "PNG", "compress_level": 7}),
        ("image/jpeg", {"format": "JPEG", "quality": 88}),
    ):
        stream = io.BytesIO()
        image.save(stream, **options)  # type: ignore[arg-type]  # Pillow types no options
        if stream.tell() <= BYTES_MOST:
            uid = str(found.dataset.SOPInstanceUID)
            return Picture(uid, stream.getvalue(), content_type, image.width, image.height)
    return None
