"""What the stored assessments say of the answers: confusion, share accepted, false alarms, calibration.

Each job counts once, by its newest assessment, whoever made it: a second reader who decides has the last word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, tzinfo
from typing import Final

from pydantic import BaseModel, ConfigDict

from dicom_node.jobs.assessments import Assessment
from pipeline.findings.model import Outcome
from pipeline.report.assessment import Verdict

BINS: Final = 5
"""Intervals of probability, of equal width."""


class Figure(BaseModel):
    """Base of all of them."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Confusion(Figure):
    """Jobs by the AI answer (rows) and the reader's class (columns)."""

    answers: tuple[str, ...]
    """Classes of the answers; `indeterminate` for those that name none."""
    classes: tuple[str, ...]
    """Classes by the readers."""
    counts: tuple[tuple[int, ...], ...]
    """A row an answer, a column a reader's class."""


class Week(Figure):
    """Jobs that were judged in one week. ``monday`` begins it."""

    monday: date
    judged: int
    accepted: int


class Bin(Figure):
    """Answers whose class has a probability within an interval: how often the readers confirm the class."""

    low: float
    high: float
    judged: int
    confirmed: int
    mean_probability: float


class Figures(Figure):
    """Figures of what was judged; nothing is known of answers that no reader assessed."""

    jobs: int
    by_verdict: dict[Verdict, int]
    confusion: Confusion
    weeks: tuple[Week, ...]
    days: int
    """Days on which judged answers were analysed."""
    false_alarms: int
    """Answers with a finding where the reader says that nothing of what the model looks for is there."""
    missed: int
    """Answers without a finding where the reader says that there is something."""
    false_alarms_per_day: float | None
    """Over ``days``; null where nothing was judged."""
    calibration: tuple[Bin, ...]
    """Intervals that hold an answer, in ascending order."""


def figures(standing: Iterable[Assessment], zone: tzinfo | None = None) -> Figures:
    """The figures of ``standing``: the newest assessment of each job. Days are those of ``zone``; None is UTC."""
    judged = tuple(standing)
    zone = zone or UTC
    days = {datetime.fromtimestamp(item.analysed_at, zone).date() for item in judged}
    alarms = sum(item.outcome is Outcome.FINDING and item.present is False for item in judged)
    return Figures(
        jobs=len(judged),
        by_verdict={verdict: sum(item.verdict is verdict for item in judged) for verdict in Verdict},
        confusion=_confusion(judged),
        weeks=_weeks(judged, zone),
        days=len(days),
        false_alarms=alarms,
        missed=sum(item.outcome is Outcome.NO_FINDING and item.present is True for item in judged),
        false_alarms_per_day=alarms / len(days) if days else None,
        calibration=_calibration(judged),
    )


def _confusion(judged: Sequence[Assessment]) -> Confusion:
    pairs = Counter(
        (item.answered or str(item.outcome), item.correct_class) for item in judged if item.correct_class is not None
    )
    answers = tuple(sorted({answer for answer, _ in pairs}))
    # The reader's classes in the order of the answers, so that agreement is the diagonal.
    further = sorted({found for _, found in pairs if found} - set(answers))
    classes = (*(name for name in answers if any(found == name for _, found in pairs)), *further)
    counts = tuple(tuple(pairs[answer, name] for name in classes) for answer in answers)
    return Confusion(answers=answers, classes=classes, counts=counts)


def _weeks(judged: Sequence[Assessment], zone: tzinfo) -> tuple[Week, ...]:
    total: Counter[date] = Counter()
    accepted: Counter[date] = Counter()
    for item in judged:
        day = datetime.fromtimestamp(item.at, zone).date()
        monday = date.fromordinal(day.toordinal() - day.weekday())
        total[monday] += 1
        accepted[monday] += item.verdict is Verdict.ACCEPTED
    return tuple(Week(monday=monday, judged=total[monday], accepted=accepted[monday]) for monday in sorted(total))


def _calibration(judged: Sequence[Assessment]) -> tuple[Bin, ...]:
    bins: dict[int, list[tuple[float, bool]]] = {}
    for item in judged:
        if item.probability is not None and item.correct_class is not None:
            index = min(int(item.probability * BINS), BINS - 1)
            bins.setdefault(index, []).append((item.probability, item.correct_class == item.answered))
    return tuple(
        Bin(
            low=index / BINS,
            high=(index + 1) / BINS,
            judged=len(rows),
            confirmed=sum(held for _, held in rows),
            mean_probability=round(sum(share for share, _ in rows) / len(rows), 4),
        )
        for index, rows in sorted(bins.items())
    )
