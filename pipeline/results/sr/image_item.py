"""A content item that names an image, or one of its frames."""

from __future__ import annotations

import highdicom as hd
from pydicom.dataset import Dataset

from pipeline.findings import codes
from pipeline.results.seg.segmentation import coded


def image_item(reference: Dataset) -> hd.sr.ImageContentItem:
    """IMAGE (PS3.3 C.18.4) of ``reference``. highdicom's selection (0.28.2) names whole instances, never a frame."""
    frame = reference.get("ReferencedFrameNumber")
    return hd.sr.ImageContentItem(
        name=coded(codes.SOURCE),
        referenced_sop_class_uid=reference.ReferencedSOPClassUID,
        referenced_sop_instance_uid=reference.ReferencedSOPInstanceUID,
        referenced_frame_numbers=None if frame is None else [int(frame)],
        relationship_type=hd.sr.RelationshipTypeValues.CONTAINS,
    )
