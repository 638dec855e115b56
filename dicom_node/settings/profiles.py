"""`[profiles.NAME]`: what a destination gets, as settings; built on a preset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, model_validator

from dicom_node.settings.base import Section
from pipeline.report.sentences import Language
from pipeline.results.profile import (
    DEFAULT_PRESET,
    PRESETS,
    FrameOrder,
    HeatmapPlanes,
    ObjectKind,
    OverlaySlices,
    Profile,
    ReportFlavour,
    ReportTitle,
    SegmentationType,
    TransferSyntax,
)

ProfileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")]
"""Stands in file names of results."""


class ProfileSettings(Section):
    """One table: a preset, and what differs from it. Fields as in `pipeline.results.profile.Profile`."""

    preset: str = DEFAULT_PRESET
    """Preset whose values apply where this table states none: `generic-pacs`, `orthanc-ohif` or `archive`."""
    objects: tuple[ObjectKind, ...] | None = None
    """DICOM objects to build and send: `overlay`, `segmentation`, `report`, `presentation`, `heatmap`, `document`,
    `keyobjects`."""
    transfer_syntax: TransferSyntax | None = None
    """`ExplicitVRLittleEndian`, `ImplicitVRLittleEndian`, `RLELossless`, `JPEGLSLossless` or `JPEG2000Lossless`.
    Compression applies to overlays and to FRACTIONAL and LABELMAP segmentations; other objects are then Explicit VR
    Little Endian."""
    overlay_slices: OverlaySlices | None = None
    """Maximum number of slice pages of an overlay beside its summary page, 0 to 40, evenly over what was found."""
    segmentation_type: SegmentationType | None = None
    """`BINARY`, `FRACTIONAL` or `LABELMAP`."""
    omit_empty_frames: bool | None = None
    """`true`: a segmentation has only the frames that a lesion touches. Set `false` for viewers that misplace such a
    segmentation."""
    report_flavour: ReportFlavour | None = None
    """How a structured report describes a lesion: `volumetric` (a segment, TID 1411), `planar` (an outline in the
    report, TID 1410) or `both`."""
    report_title: ReportTitle | None = None
    """Coded title of the structured report: `imaging` (126000, DCM), `oncology` (126001, DCM), or `automatic`, which is
    `oncology` for a model that looks for a neoplasm and (18748-4, LN) for others. OHIF shows `imaging` as a blank page,
    other programs open no other title ([viewers.md](viewers.md))."""
    language: Language | None = None
    """Language of the presentation state's texts and of the PDF: `en`, `de`, `es` or `fr`. The other objects are in
    English."""
    heatmap_frame_order: FrameOrder | None = None
    """Order of the heat map's frames along the slice normal: `ascending` (which OHIF needs) or `descending`."""
    heatmap_planes: HeatmapPlanes | None = None
    """Planes of the heat map: `shown` (those that show something, and those between) or `all` (which OHIF needs)."""

    @model_validator(mode="after")
    def _holds_together(self) -> ProfileSettings:
        if self.preset not in PRESETS:
            raise ValueError(f"there is no preset {self.preset!r} (known: {', '.join(PRESETS)})")
        self.profile  # noqa: B018  (what contradicts itself is told when the file is read, not when a series is)
        return self

    @property
    def profile(self) -> Profile:
        """The whole profile."""
        stated = self.model_dump(exclude={"preset"}, exclude_none=True)
        return Profile(**{**PRESETS[self.preset].model_dump(), **stated})


def known_profiles(tables: Mapping[str, ProfileSettings]) -> dict[str, Profile]:
    """Every profile by name: the presets, and those of candela.toml.

    Raises
    ------
    ValueError
        where a table has the name of a preset.
    """
    taken = next((name for name in tables if name in PRESETS), None)
    if taken is not None:
        raise ValueError(f"profiles.{taken}: this is the name of a preset; choose another and set preset = {taken!r}")
    return {**PRESETS, **{name: table.profile for name, table in tables.items()}}
