"""Selection, for a model that reads several series of a study as channels, of the series of each channel.

A wrong series gives a plausible wrong answer, and nobody sees it. So a channel is filled where exactly one series fits
it, after two stated preferences; otherwise the study is refused with the candidates named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from pipeline.caveats import Caveat
from pipeline.errors import MissingSeries, Refused, SeveralCandidates, UnsupportedProtocol
from pipeline.findings.own_results import is_own_result
from pipeline.reading.attributes import text
from pipeline.reading.flair import tissue_contrast
from pipeline.reading.representative import SLICE, image_kind
from pipeline.routing.preflight import Check
from pipeline.routing.protocol import unlike_anatomy
from pipeline.routing.selection import LEAST_SLICES, Candidate
from pipeline.routing.series_attributes import classic, contrast

SHOWN_MOST = 5
FRAME = "the only one that fits in the frame of reference of the other channels"
_Preference = Callable[[list[Candidate]], list[Candidate]]


@dataclass(frozen=True)
class Channel:
    """What a model wants as one channel; a rule that is absent admits any series.

    ``weightings``: any of T1, T2, PD, T2*, FLAIR. ``contrast``: with or without contrast agent. ``description``: a
    regular expression that SeriesDescription contains, case ignored.
    """

    name: str
    weightings: tuple[str, ...] = ()
    contrast: bool | None = None
    description: str | None = None

    @property
    def wanted(self) -> str:
        """What the channel takes, as a noun phrase."""
        weighted = f"{' or '.join(self.weightings)} series" if self.weightings else "series"
        agent = {True: " with contrast agent", False: " without contrast agent", None: ""}[self.contrast]
        said = f" whose description matches {self.description!r}" if self.description else ""
        return f"{weighted}{agent}{said}"


@dataclass(frozen=True)
class Choice:
    """The series that fills a channel. ``reason`` says, without text from a header, why this one."""

    channel: Channel
    candidate: Candidate
    reason: str


def admits(channel: Channel, header: Dataset, agent: str | None) -> bool:
    """Whether ``channel`` takes a series with this header in classic form.

    ``agent`` is `SeriesAttributes.contrast`.
    """
    if channel.weightings and (tissue_contrast(header) not in channel.weightings or unlike_anatomy(header)):
        return False
    if channel.contrast is not None and channel.contrast != (agent is not None):
        return False
    said = text(header, "SeriesDescription") or text(header, "ProtocolName")
    return channel.description is None or re.search(channel.description, said, re.IGNORECASE) is not None


def check_of(channel: Channel, check: Check) -> Check:
    """The check of a model for one of its channels: as ``check``, and the series must fit the channel.

    Raises
    ------
    UnsupportedProtocol
        (the check that is returned) where it does not fit.
    """

    def checked(header: Dataset) -> tuple[Caveat, ...]:
        caveats = check(header)
        if not admits(channel, header, contrast(header)):
            raise UnsupportedProtocol(
                f"Channel {channel.name} takes a {channel.wanted}.",
                where=f"series {text(header, 'SeriesInstanceUID')}",
                todo="Send a series that the channel takes.",
            )
        return caveats

    return checked


def choose_channels(candidates: Sequence[Candidate], channels: Sequence[Channel], check: Check) -> tuple[Choice, ...]:
    """The series of each channel, in the order of ``channels``. The order of ``candidates`` does not matter.

    Left out: series that ``check`` refuses, localisers, Candela's own results, objects without slices, fewer than three
    slices. A series fills one channel only. Where several fit a channel, original images come before derived ones, and
    then a series with the frame of reference of the channels that are filled already before others.

    Raises
    ------
    MissingSeries
        naming each channel that no series fits, and what it takes.
    SeveralCandidates
        naming the channel, and the series that fit it equally.
    """
    able = [item for item in candidates if _is_able(item, check)]
    open_ = {
        channel.name: sorted(
            (item for item in able if admits(channel, classic(item.header), item.attributes.contrast)),
            key=lambda item: item.series_instance_uid,
        )
        for channel in channels
    }
    by_name = {channel.name: channel for channel in channels}
    _refuse_missing([by_name[name] for name, found in open_.items() if not found], len(candidates))
    chosen: dict[str, tuple[Candidate, str]] = {}
    _settle(open_, chosen, by_name, len(candidates), "the only one that fits")
    for preferred, reason in ((_originals, "the only original one that fits"), (_in_frame_of(chosen), FRAME)):
        for name, found in open_.items():
            open_[name] = preferred(found) or found
        _settle(open_, chosen, by_name, len(candidates), reason)
    for name, found in open_.items():
        raise _ambiguous(by_name[name], found)
    return tuple(Choice(channel, *chosen[channel.name]) for channel in channels)


def _settle(
    open_: dict[str, list[Candidate]],
    chosen: dict[str, tuple[Candidate, str]],
    by_name: Mapping[str, Channel],
    total: int,
    reason: str,
) -> None:
    """Fill each channel that one series is left for, and take that series from the others, until nothing changes."""
    while single := next((name for name, found in open_.items() if len(found) == 1), None):
        (item,) = open_.pop(single)
        chosen[single] = (item, reason)
        for name, found in open_.items():
            open_[name] = [other for other in found if other is not item]
            if not open_[name]:
                raise MissingSeries(
                    f"Channel {name} takes a {by_name[name].wanted}, and so does channel {single}: only series"
                    f" {item.series_instance_uid} fits both, and one series fills one channel.",
                    where=f"study of {total} series",
                    todo="Send the missing series, or narrow the rules of the channels in the model's candela.json.",
                )


def _originals(found: list[Candidate]) -> list[Candidate]:
    return [item for item in found if not item.attributes.derived]


def _in_frame_of(chosen: Mapping[str, tuple[Candidate, str]]) -> _Preference:
    def preferred(found: list[Candidate]) -> list[Candidate]:
        frames = {text(item.header, "FrameOfReferenceUID") for item, _ in chosen.values()}
        return [item for item in found if text(item.header, "FrameOfReferenceUID") in frames - {""}]

    return preferred


def _is_able(candidate: Candidate, check: Check) -> bool:
    header = candidate.header
    if is_own_result(header) or image_kind(header) != SLICE or candidate.attributes.localizer:
        return False
    if candidate.attributes.number_of_slices < LEAST_SLICES:
        return False
    try:
        check(classic(header))
    except Refused:
        return False
    return True


def _refuse_missing(missing: Sequence[Channel], total: int) -> None:
    if missing:
        wants = "; ".join(f"channel {channel.name} takes a {channel.wanted}" for channel in missing)
        raise MissingSeries(
            f"No series of the study fits: {wants}.",
            where=f"study of {total} series",
            todo="Send the missing series, or correct the rule of the channel in the model's candela.json.",
        )


def _ambiguous(channel: Channel, found: Sequence[Candidate]) -> SeveralCandidates:
    shown = ", ".join(
        item.series_instance_uid
        + ("" if (number := item.attributes.series_number) is None else f" (number {number:g})")
        for item in found[:SHOWN_MOST]
    )
    more = ", ..." if len(found) > SHOWN_MOST else ""
    return SeveralCandidates(
        f"Channel {channel.name} takes a {channel.wanted}, and {len(found)} series of the study fit: {shown}{more}.",
        todo="Narrow the rule of the channel in the model's candela.json, or keep the others away from the node.",
    )
