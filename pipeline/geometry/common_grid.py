"""The series of a study on one grid, as a network wants its channels: that of the first series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import SeriesDoNotMatch
from pipeline.geometry.resample import resample
from pipeline.geometry.rigid import Match, head_of, register
from pipeline.geometry.volume import Volume
from pipeline.reading.attributes import text

SAME_MM = 1e-3
"""How far, in mm at the grid's corners, two affines may differ and still be one grid."""
LEAST_COVERED = 0.5
"""Of the reference's head (voxels that stand out from the air) that another series must show."""
LEAST_EDGES = 0.75
LEAST_OVER_MIRROR = 0.06
MOST_RESIDUAL_MM = 2.0
"""What a registration must reach (`pipeline.geometry.rigid.Match`); docs/adr/0062 says how these were chosen."""
HEAD = frozenset({"BRAIN", "HEAD", "SKULL", "HEADNECK", "PITUITARY"})
"""Body parts that move as one. The limits were chosen on heads; organs of the trunk need more than a rigid motion."""
TODO = "Send series of one examination, or take the study to a viewer and look at them together."


@dataclass(frozen=True)
class OnOneGrid:
    """The volumes by channel, all on the grid of the first, and what was done to bring them there.

    A volume that was resampled has no ``sources``: its planes are not those of any instance.
    """

    volumes: dict[str, Volume]
    caveats: tuple[Caveat, ...]


def onto_one_grid(volumes: Mapping[str, Volume]) -> OnOneGrid:
    """Bring each of ``volumes``, by channel, onto the grid of the first.

    A series with that grid and frame of reference stays as it is, bit by bit. In the same frame of reference, voxels
    are interpolated linearly. Otherwise the series is registered rigidly, if it shows a head.

    Raises
    ------
    SeriesDoNotMatch
        where a series shows too little of what the first shows, or the registration is not provably right.
    """
    (first, reference), *others = volumes.items()
    found, caveats = {first: reference}, []
    for name, moving in others:
        found[name], caveat = _placed(name, reference, moving, first)
        caveats += caveat
    return OnOneGrid(found, tuple(caveats))


def _placed(name: str, reference: Volume, moving: Volume, first: str) -> tuple[Volume, list[Caveat]]:
    frame = text(reference.sources[0], "FrameOfReferenceUID")
    one_frame = frame != "" and frame == text(moving.sources[0], "FrameOfReferenceUID")
    if one_frame and _same_grid(reference, moving):
        return moving, []
    where = f"series {moving.series_instance_uid}"
    match = None if one_frame else _registered(name, reference, moving, first)
    array, inside = resample(moving, reference.shape, reference.affine, match.to_moving if match else None)
    head = head_of(reference.array, np.ones(reference.shape, dtype=np.bool_))
    covered = float((head & inside).sum() / max(1, int(head.sum())))
    if covered < LEAST_COVERED:
        raise SeriesDoNotMatch(
            f"The series of channel {name} shows {covered:.0%} of what that of channel {first} shows; the model needs"
            f" {LEAST_COVERED:.0%}.",
            where=where,
            todo=TODO,
        )
    share = round(100 * covered)
    caveat = (
        Caveat(CaveatCode.SERIES_RESAMPLED, {"channel": name, "covered": share})
        if match is None
        else Caveat(
            CaveatCode.SERIES_REGISTERED,
            {"channel": name, "covered": share, "residual": round(match.residual_mm, 1)},
        )
    )
    return Volume(array, reference.affine, (), caveats=moving.caveats, subject=moving.subject), [caveat]


def _registered(name: str, reference: Volume, moving: Volume, first: str) -> Match:
    where = f"series {moving.series_instance_uid}"
    for volume in (reference, moving):
        part = text(volume.sources[0], "BodyPartExamined").upper()
        if part and part not in HEAD:
            raise SeriesDoNotMatch(
                f"The series of channels {first} and {name} have different frames of reference, and BodyPartExamined is"
                f" {part}: Candela registers heads only.",
                where=where,
                todo=TODO,
            )
    match = register(reference, moving)
    if match is None:
        raise SeriesDoNotMatch(
            f"The series of channels {first} and {name} have different frames of reference, and do not overlap.",
            where=where,
            todo=TODO,
        )
    reasons = _unproven(match)
    if reasons:
        raise SeriesDoNotMatch(
            f"The series of channels {first} and {name} have different frames of reference, and do not provably show"
            f" the same head: {', '.join(reasons)}.",
            where=where,
            todo=TODO,
        )
    return match


def _unproven(match: Match) -> list[str]:
    reasons = []
    if match.edges < LEAST_EDGES:
        reasons.append(f"their edges agree by {match.edges:.2f}, at least {LEAST_EDGES} is needed")
    if match.edges - match.mirrored_edges < LEAST_OVER_MIRROR:
        reasons.append(
            f"the mirror image matches as well (edges agree by {match.mirrored_edges:.2f} against {match.edges:.2f})"
        )
    if match.residual_mm > MOST_RESIDUAL_MM:
        reasons.append(
            f"the registrations there and back differ by {match.residual_mm:.1f} mm, at most {MOST_RESIDUAL_MM:g} mm"
            " are allowed"
        )
    return reasons


def _same_grid(one: Volume, other: Volume) -> bool:
    if one.shape != other.shape:
        return False
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in one.shape], indexing="ij")).reshape(3, -1).T
    return bool(np.abs(one.to_patient(corners) - other.to_patient(corners)).max() <= SAME_MM)
