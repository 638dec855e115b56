"""What becomes of a study's series where a model reads several of them as channels: one job over all that were chosen,
and a record for each other series.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dicom_node.completion.rules import CompleteSeries
from pipeline.errors import MissingSlices
from pipeline.routing.channels import Choice


def refuse_parts(chosen: Sequence[tuple[Choice, CompleteSeries]]) -> None:
    """Refuse a study of which a companion of the first channel's series is a part, by a peer's count.

    The first channel's series is read even so: its results say that images are missing.

    Raises
    ------
    MissingSlices
        naming the series.
    """
    for choice, series in chosen[1:]:
        received = len(series.instances)
        if series.expected is not None and series.expected > received:
            raise MissingSlices(
                f"Channel {choice.channel.name}: the archive has {series.expected} images of the series, and {received}"
                " were received.",
                where=f"series {series.series_instance_uid}",
                todo="Send the missing images: the study is then read.",
            )


def as_one(series: Sequence[CompleteSeries]) -> CompleteSeries:
    """The first of ``series``, complete when the last of them was. Its expected count stays if it is not reached, or
    if a peer has counted every series.
    """
    first, last = series[0], max(series, key=lambda item: item.completed_at)
    short = first.expected is not None and first.expected > len(first.instances)
    counted = all(item.expected is not None for item in series)
    return replace(
        first,
        reason=last.reason,
        completed_at=last.completed_at,
        silence=last.silence,
        expected=first.expected if short or counted else None,
    )


def revision_of(folder: Path, series_instance_uid: str) -> int:
    """The revision of the job over several series whose results will be in ``folder``: one more than the model's jobs
    for the same first series that have a folder beside it.

    A series' own revision would not do: the next job is due to a late slice in any of the series, or to another choice.
    """
    model = folder.name.rpartition("_")[2]
    earlier = folder.parent.glob(f"{glob.escape(series_instance_uid)}_*_{glob.escape(model)}")
    return 1 + sum(other != folder for other in earlier)


def reasons(chosen: Sequence[tuple[Choice, CompleteSeries]]) -> str:
    """Which series fills which channel, and why, in a line."""
    return "; ".join(
        f"channel {choice.channel.name} is series {series.series_instance_uid}: {choice.reason}"
        for choice, series in chosen
    )


def record_digest(prefix: str, model_digest: str, text: str) -> str:
    """Replaces the model's digest in the id of a job that only records ``text``: another decision is another record."""
    return prefix + hashlib.sha256(f"{model_digest}\n{text}".encode()).hexdigest()[: 12 - len(prefix)]
