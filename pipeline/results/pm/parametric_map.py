"""Parametric map (PM): the values of the heat map, for viewers that fuse it with the images.

Parametric Map Storage (PS3.3 A.75) with 32-bit floating point pixels, 0 to 1, on the source's pixels. Built only for
destinations that ask for it: it is large, and few viewers show it right.
"""

from __future__ import annotations

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset

from pipeline.findings import codes
from pipeline.findings.model import FloatArray
from pipeline.findings.own_results import MANUFACTURER
from pipeline.results.drawing.pages import shows_heatmap
from pipeline.results.provenance import ResultContext, body_part, finish, set_lossy_compression
from pipeline.results.result_object import ResultObject
from pipeline.results.seg.segmentation import coded
from pipeline.results.wording import DISCLAIMER, ascii_text

KIND = "heatmap"
NOTHING = 0.01
"""Planes at either end of the stack whose strongest value is below this are left out."""


def build(context: ResultContext) -> tuple[ResultObject, ...]:
    """One parametric map, or none where the results show no heat map (a "no tumor" has none)."""
    heatmap = context.findings.heatmap
    if heatmap is None or not shows_heatmap(context.findings):
        return ()
    model = context.findings.model
    every = context.profile.heatmap_planes == "all"
    planes = list(range(context.volume.shape[0])) if every else _planes(heatmap)
    made = hd.pm.ParametricMap(
        source_images=[context.references[k] for k in planes],
        pixel_array=heatmap[planes].astype(np.float32),
        series_instance_uid=context.series_uid(KIND),
        series_number=1,
        sop_instance_uid=context.instance_uid(KIND),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=ascii_text(model.title, 64),
        software_versions=ascii_text(model.version, 64),
        device_serial_number=model.digest[:16],
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[
            hd.pm.RealWorldValueMapping(
                lut_label="GRAD_CAM",
                lut_explanation="Class activation, 0 to 1",
                unit=coded(codes.NO_UNITS),
                value_range=(0.0, 1.0),
                slope=1.0,
                intercept=0.0,
                quantity_definition=coded(context.findings.technique),
            )
        ],
        voi_lut_transformations=[hd.VOILUTTransformation(window_center=0.5, window_width=1.0)],
        content_label="AI_HEATMAP",
        content_description=DISCLAIMER,
        content_creator_name="Candela^AI",
    )
    _order_frames(made, context, descending=context.profile.heatmap_frame_order == "descending")
    made.BodyPartExamined = body_part(context)
    set_lossy_compression(made, context)
    ds = finish(made, context, kind=KIND, number=1, description="heat map")
    return (ResultObject(role=KIND, filename="heatmap.dcm", dataset=ds),)


def _order_frames(made: Dataset, context: ResultContext, *, descending: bool) -> None:
    """Sort the frames along the slice normal (PS3.3 C.7.6.2.1.1), or against it; dimension indices follow the frames.

    highdicom (0.28.2) sorts them against it, whatever order it is given. A reader goes by each frame's own position;
    but one that takes the frames as they come shows the stack turned upside down.
    """
    normal = context.volume.affine[:3, 0]
    groups = [*made.PerFrameFunctionalGroupsSequence]
    along = [float(np.array(item.PlanePositionSequence[0].ImagePositionPatient, float) @ normal) for item in groups]
    order = sorted(range(len(groups)), key=along.__getitem__, reverse=descending)
    frames = np.frombuffer(made.FloatPixelData, np.float32).reshape(len(groups), -1)
    made.FloatPixelData = frames[order].tobytes()
    made.PerFrameFunctionalGroupsSequence = [groups[number] for number in order]
    for number, item in enumerate(made.PerFrameFunctionalGroupsSequence, start=1):
        item.FrameContentSequence[0].DimensionIndexValues = [number]


def _planes(heatmap: FloatArray) -> list[int]:
    """The planes from the first to the last that shows activation."""
    shown = np.flatnonzero(heatmap.max(axis=(1, 2)) >= NOTHING)
    return list(range(int(shown[0]), int(shown[-1]) + 1)) if shown.size else [int(heatmap.max(axis=(1, 2)).argmax())]
