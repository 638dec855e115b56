"""The key picture, small enough to travel inside a report."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from PIL import Image

from pipeline.results.result_object import ResultObject

WIDTH_MOST = 960
"""Pixels; as wide as a printed page shows it."""
BYTES_MOST = 400_000
"""A picture that even as JPEG is larger stays in the PACS alone."""


@dataclass(frozen=True)
class Picture:
    """An encoded picture; ``sop_instance_uid`` is the overlay that it is a copy of."""

    sop_instance_uid: str
    data: bytes
    content_type: str
    width: int
    height: int

    @property
    def data_url(self) -> str:
        return f"data:{self.content_type};base64,{base64.b64encode(self.data).decode('ascii')}"


def key_picture(objects: tuple[ResultObject, ...]) -> Picture | None:
    """The first overlay's preview: PNG where that is small, else JPEG; None where there is none, or none is small."""
    found = next((item for item in objects if item.role == "overlay" and item.preview is not None), None)
    if found is None or found.preview is None:
        return None
    image = Image.fromarray(found.preview)
    if image.width > WIDTH_MOST:
        image = image.resize((WIDTH_MOST, round(image.height * WIDTH_MOST / image.width)), Image.Resampling.LANCZOS)
    for content_type, options in (
        ("image/png", {"format": "PNG", "optimize": True}),
        ("image/jpeg", {"format": "JPEG", "quality": 88}),
    ):
        stream = io.BytesIO()
        image.save(stream, **options)  # type: ignore[arg-type]  # Pillow types no options
        if stream.tell() <= BYTES_MOST:
            uid = str(found.dataset.SOPInstanceUID)
            return Picture(uid, stream.getvalue(), content_type, image.width, image.height)
    return None
