"""Pages of a radiograph: the header's letters or none, lengths called what they are, no place in the patient."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pypdfium2
import pytest

from pipeline.results.drawing.pages import Story, slice_page
from pipeline.results.pdf import document
from pipeline.results.provenance import ResultContext
from pipeline.results.sc import overlay
from tests.conformance.test_projection_answers import KINDS, context_of

LETTERS = set("LRAPHF")


def oriented(stated: object) -> ResultContext:
    """An outlined chest film whose header states this Patient Orientation."""
    context = context_of("chest", "outlined")
    source = deepcopy(context.volume.sources[0])
    source.PatientOrientation = stated
    return replace(context, volume=replace(context.volume, sources=(source,)))


@pytest.mark.parametrize(
    ("stated", "drawn"),
    [
        (["L", "F"], ["R", "L", "H", "F"]),
        (["AL", "FP"], ["PR", "AL", "HA", "FP"]),
        (None, []),
        (["L"], []),
        (["L", "X"], []),
    ],
)
def test_only_directions_that_the_header_states_are_drawn(stated: object, drawn: list[str], written: list[str]) -> None:
    """Left, right, top and bottom of the picture; its plane has no other place in the patient."""
    context = oriented(stated)
    slice_page(Story(context.volume, context.findings), 0, page=2, pages=2)
    assert [text for text in written if text and set(text) <= LETTERS] == drawn


def test_lengths_are_called_those_at_the_detector(written: list[str]) -> None:
    """The scale bar says so where the spacing is that of the detector, and only there."""
    context = context_of("chest", "outlined")
    slice_page(Story(context.volume, context.findings), 0, page=2, pages=2)
    assert [text for text in written if "at the detector" in text] == ["100 mm at the detector"]
    written.clear()
    calibrated = replace(context.volume, caveats=())
    slice_page(Story(calibrated, context.findings), 0, page=2, pages=2)
    assert not [text for text in written if "at the detector" in text]


@pytest.mark.parametrize("name", ["chest", "breast"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_page_claims_no_place_in_the_patient(name: str, kind: str, written: list[str]) -> None:
    """No geometry on any page; the image is named by its number and not as a slice; areas, never volumes."""
    context = context_of(name, kind)
    for item in overlay.build(context):
        assert not {"ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "FrameOfReferenceUID"} & set(
            item.dataset.dir()
        )
    shown = " | ".join(written)
    assert "mage 1" in shown
    assert "lice" not in shown
    assert "mL" not in shown
    assert ("cm²" in shown) is (kind in {"outlined", "separate"})
    opened = pypdfium2.PdfDocument(document.pdf_page(context))
    printed = opened[0].get_textpage().get_text_range()
    assert ("Area" in printed) is (kind in {"outlined", "separate"})
    assert "Slice" not in printed
