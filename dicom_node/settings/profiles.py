"""`[profiles.NAME]`: what a destination gets, as settings; built on a preset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.results.profile import (
    DEFAULT_PRESET,
    PRESETS,
    FrameOrder,
    HeatmapPlanes,
    ObjectKind,
    Profile,
    ReportFlavour,
    ReportTitle,
    SegmentationType,
    TransferSyntax,
)

ProfileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")]
"""Stands in file names of results."""


class ProfileSettings(BaseModel):
    """One table: a preset, and what is otherwise than in it. Fields as in `pipeline.results.profile.Profile`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: str = DEFAULT_PRESET
    objects: tuple[ObjectKind, ...] | None = None
    transfer_syntax: TransferSyntax | None = None
    segmentation_type: SegmentationType | None = None
    omit_empty_frames: bool | None = None
    report_flavour: ReportFlavour | None = None
    report_title: ReportTitle | None = None
    heatmap_frame_order: FrameOrder | None = None
    heatmap_planes: HeatmapPlanes | None = None

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
