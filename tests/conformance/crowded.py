"""Answers that fill or leave empty every place of a page: very many structures, boxes, classes and numbers, or one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pipeline.findings.answers import Answer, Classification, Detection, Quantity, Regression, Segmentation
from pipeline.findings.codes import FINDING, Code
from pipeline.findings.from_answer import Answered, findings_of
from pipeline.findings.identity import RunIdentity
from pipeline.findings.model import AnswerKind, ModelIdentity
from pipeline.results.provenance import ResultContext
from tests.conformance.answers import SHAPE, ball, box_of, concept, model_of, volume_of

LONG = "with a name that is far longer than any column of any page has room for"
YEAR = Code("a", "UCUM", "year")


def structures(count: int) -> tuple[Answer, ModelIdentity]:
    """Balls side by side in the head, a structure each."""
    concepts = tuple(concept(number, f"structure_{number}") for number in range(1, count + 1))
    labels = np.zeros(SHAPE, np.uint8)
    across = max(1, round(np.ceil(np.sqrt(count / 2))))
    pitch = 0.62 * SHAPE[1] / across
    for number in range(count):
        layer, place = divmod(number, across * across)
        row, column = (0.2 * SHAPE[1] + pitch * (part + 0.5) for part in divmod(place, across))
        inside = ball((7 + 6 * layer, row, column), max(0.42 * pitch * 2.5, 6))
        labels[inside & (labels == 0)] = number + 1
    return Segmentation(concepts, labels), model_of(AnswerKind.SEGMENTATION, concepts, None, None)


def long_titles() -> tuple[Answer, ModelIdentity]:
    """Structures whose titles are as long as sentences."""
    answer, model = structures(5)
    return answer, replace(model, terms=tuple(replace(term, title=f"{term.title} {LONG}") for term in model.terms))


def boxes(count: int) -> tuple[Answer, ModelIdentity]:
    nodule = concept(0, "nodule", Code("427359005", "SCT", "Solitary nodule of lung"))
    made = tuple(
        box_of(nodule, 0.95 - n / 50, (n % 18, 20 + n, 25 + n), (n % 18 + 1, 28 + n, 34 + n)) for n in range(count)
    )
    return Detection((nodule,), made), model_of(AnswerKind.DETECTION, (nodule,), nodule.code, None)


def labels(count: int) -> tuple[Answer, ModelIdentity]:
    concepts = tuple(concept(number, f"sign_{number}_{LONG}") for number in range(count))
    scores = tuple(0.99 - number / (count + 1) for number in range(count))
    answer = Classification(concepts, scores, exclusive=False, thresholds=(0.5,) * count)
    return answer, model_of(AnswerKind.CLASSIFICATION, concepts, FINDING, None)


def estimates(count: int) -> tuple[Answer, ModelIdentity]:
    concepts = tuple(concept(number, f"quantity_{number}_{LONG}") for number in range(count))
    quantities = tuple(Quantity(item, 10.0 ** (item.value - 9), YEAR) for item in concepts)
    return Regression(quantities), model_of(AnswerKind.REGRESSION, concepts, None, None)


CROWDED: dict[str, Callable[[], tuple[Answer, ModelIdentity]]] = {
    "1 structure": lambda: structures(1),
    "104 structures": lambda: structures(104),
    "long titles": long_titles,
    "1 box": lambda: boxes(1),
    "30 boxes": lambda: boxes(30),
    "40 labels": lambda: labels(40),
    "1 estimate": lambda: estimates(1),
    "25 estimates": lambda: estimates(25),
}
"""By name: an answer that is more, or less, than a page is made for."""


def crowded_context(name: str, *, only: int | None = None) -> ResultContext:
    """The context of a run that gave the answer called ``name``; ``only``: on this slice alone."""
    answer, model = CROWDED[name]()
    volume = volume_of()
    if only is not None:
        part = slice(only, only + 1)
        volume = replace(volume, array=volume.array[part], sources=volume.sources[part], frames=volume.frames[part])
        if isinstance(answer, Segmentation):
            answer = replace(answer, array=answer.array[..., part, :, :])
    run = RunIdentity(volume.series_instance_uid, name, model.digest)
    return ResultContext(volume, findings_of(Answered(answer), volume, run, model), run)
