"""Regions have the numbers of their images in the PACS, and a side where the model looks for something in a head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline import phantom
from pipeline.findings.explanation import nearest_within_body
from pipeline.findings.measure import to_findings
from pipeline.findings.model import Outcome, Prediction, Side
from pipeline.findings.places import image_numbers, with_places
from pipeline.geometry.build import build_volume
from pipeline.report import sentences
from pipeline.report.findings import ReportedFindings
from pipeline.report.sentences import Language
from pipeline.results.drawing.listing import number_range, place, where
from pipeline.results.provenance import ResultContext
from tests.conformance.synthetic import MODEL, phantom_context, with_own_headers
from tests.unit.pipeline.results.test_source_images import with_frames


def placed(context: ResultContext, **header: object) -> tuple[Side | None, tuple[int, ...]]:
    """Side and image numbers of the only region, with ``header`` in the images."""
    context = with_own_headers(context)
    for ds in context.volume.sources:
        for keyword, value in header.items():
            setattr(ds, keyword, value)
    (region,) = with_places(context.findings, context.volume).regions
    return region.side, region.images


def test_images_are_numbered_as_the_pacs_numbers_them() -> None:
    """Against the slices where the series was stored so; none where an image has no number."""
    context = with_own_headers(phantom_context(slices=12))
    for k, ds in enumerate(context.volume.sources):
        ds.InstanceNumber = 100 - k
    found = with_places(context.findings, context.volume)
    (region,) = found.regions
    first, last = region.slices[0], region.slices[-1]
    assert region.images == tuple(100 - k for k in region.slices)
    assert where(found) == ("side", "slices", "images")
    assert place(region, "slices") == f"{first + 1}–{last + 1}"
    assert place(region, "images") == f"{100 - last}–{100 - first}"
    assert number_range((7,)) == "7"
    context.volume.sources[3].InstanceNumber = None
    assert image_numbers(context.volume) == ()
    assert "images" not in where(with_places(context.findings, context.volume))


def test_frames_are_numbered_within_the_only_instance() -> None:
    one, two = "1.2.3.1", "1.2.3.2"
    (region,) = with_frames([(one, 12 - k) for k in range(12)], {one: 12}).findings.regions
    assert region.images == tuple(12 - k for k in region.slices)
    places = [(one, k + 1) for k in range(6)] + [(two, k + 1) for k in range(6)]
    (region,) = with_frames(places, {one: 6, two: 6}).findings.regions
    assert region.images == ()


def test_a_side_is_that_of_something_sought_in_a_head() -> None:
    """Not of a structure, and not in another part of the body; where nothing is stated, the bundle's part counts."""
    context = phantom_context(slices=12)
    assert placed(context, BodyPartExamined="BRAIN")[0] is Side.LEFT
    assert placed(context, BodyPartExamined="")[0] is Side.LEFT
    assert placed(context, BodyPartExamined="CHEST")[0] is None
    structures = replace(context.findings, model=replace(MODEL, target=None))
    assert placed(replace(context, findings=structures), BodyPartExamined="BRAIN")[0] is None


@pytest.mark.parametrize("language", Language)
def test_the_conclusion_says_the_side_in_words(language: Language) -> None:
    findings = ReportedFindings.of(phantom_context(slices=12).findings)
    (region,) = findings.regions
    said = {
        side: sentences.conclusion(replace(findings, regions=(replace(region, side=side),)), language)
        for side in (None, *Side)
    }
    assert len(set(said.values())) == len(said)
    if language is Language.ENGLISH:
        assert "It lies left of the midline." in said[Side.LEFT]
        assert "midline" not in said[None]


@pytest.mark.parametrize("told", [0, 1, 10, 11])
def test_the_key_slice_of_an_unreliable_answer_shows_the_head(told: int) -> None:
    """The model may point at noise in the first or the last slice, or beyond the head."""
    volume = build_volume(phantom.head_phantom(slices=12, matrix=64))
    volume.array[10:] = 0.0
    prediction = Prediction(
        outcome=Outcome.INDETERMINATE,
        predicted_class="glioma",
        probabilities=phantom_context(slices=12).findings.probabilities,
        mask=np.zeros(volume.shape, bool),
        heatmap=np.zeros(volume.shape, np.float32),
        key_slice=told,
    )
    found = to_findings(prediction, volume, phantom_context(slices=12).run, MODEL)
    assert found.key_slice == {0: 1, 1: 1, 10: 9, 11: 9}[told]
    assert nearest_within_body(replace(volume, array=volume.array[:1]), 0) == 0
