"""Pages of every kind of answer: the answer leads, regions have their colours, tables are whole, nothing overlaps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pypdfium2
import pytest

from pipeline.findings.model import AnswerKind, Outcome
from pipeline.report.sentences import Language
from pipeline.results.colours import STRUCTURES, region_rgb
from pipeline.results.drawing.canvas import SIDE, Canvas
from pipeline.results.drawing.fonts import Face, font
from pipeline.results.drawing.listing import NUMBERED_REGIONS
from pipeline.results.drawing.page_parts import FOOT, HEAD, MARGIN
from pipeline.results.drawing.pages import Story, slice_page, summary_page
from pipeline.results.drawing.picture import contours
from pipeline.results.pdf import document
from pipeline.results.provenance import ResultContext
from pipeline.results.sc import overlay
from tests.conformance.answers import ANSWERS, answer_context
from tests.conformance.crowded import CROWDED, crowded_context

EVERY = (*ANSWERS, *CROWDED)
DRAWN = ("structures", "brain", "nested", "separate", "boxes", "1 structure", "104 structures", "1 box")


def context_of(name: str) -> ResultContext:
    return answer_context(name) if name in ANSWERS else crowded_context(name)


def story_of(name: str) -> Story:
    context = context_of(name)
    return Story(context.volume, context.findings)


@dataclass(frozen=True)
class Written:
    """A text that was drawn, and the rectangle that its letters fill: left, top, right, bottom."""

    text: str
    size: int
    within: tuple[float, float, float, float]
    upon_picture: bool


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Written]:
    """Every text that is drawn."""
    texts: list[Written] = []
    draw = Canvas.text

    def recorded(
        self: Canvas,
        at: tuple[float, float],
        text: str,
        *,
        size: int = 18,
        face: Face = Face.REGULAR,
        anchor: str = "la",
        cased: bool = False,
        **kwargs: Any,
    ) -> float:
        wide = draw(self, at, text, size=size, face=face, anchor=anchor, cased=cased, **kwargs)
        left = at[0] - wide * {"l": 0.0, "m": 0.5, "r": 1.0}[anchor[0]]
        ascent, descent = font(size, face).getmetrics()
        base = at[1] + {"a": ascent, "d": -descent, "m": (ascent - descent) / 2, "s": 0}[anchor[1]]
        _, top, _, bottom = font(size, face).getbbox(text, anchor="ls")
        if wide:
            texts.append(Written(text, size, (left, base + top, left + wide, base + bottom), cased))
        return wide

    monkeypatch.setattr(Canvas, "text", recorded)
    return texts


def said(written: list[Written]) -> str:
    return " | ".join(item.text for item in written)


@pytest.mark.parametrize(
    ("name", "large", "beside"),
    [
        ("structures", ["11 structures outlined"], "Structure 10"),
        ("brain", ["1 structure outlined"], "Brain"),
        ("nested", ["Neoplasm suggested", "3"], "regions outlined"),
        ("nothing outlined", ["No neoplasm suggested"], "does not"),
        ("labels", ["Pneumonia, Pleural effusion suggested", "0.81"], "highest score"),
        ("no label", ["No finding suggested"], "0.21"),
        ("kind", ["Bleed suggested", "0.85"], "score"),
        ("density", ["Density b", "0.60"], "score"),
        ("boxes", ["Nodule suggested", "0.93"], "highest score"),
        ("1 box", ["Nodule suggested", "0.95"], "score"),
        ("no box", ["No solitary nodule of lung suggested"], "does not"),
        ("estimates", ["Brain age", "53.27 years"], "Ejection fraction"),
    ],
)
def test_the_answer_leads_and_no_score_is_called_a_probability(
    name: str, large: list[str], beside: str, written: list[Written]
) -> None:
    """The answer in a few words and its figure stand large at the top; scores are called scores."""
    summary_page(story_of(name), pages=1)
    assert set(large) <= {item.text for item in written if item.size == 40}
    assert any(beside in item.text for item in written)
    assert "model probability" not in {item.text.lower() for item in written}


def test_an_unreliable_class_has_no_large_figure(written: list[Written]) -> None:
    """Indeterminate says so first, and names no class."""
    summary_page(story_of("kind uncertain"), pages=1)
    assert [item.text for item in written if item.size == 40] == ["Indeterminate: no reliable answer"]
    assert "read the images without it" in said(written)
    assert "highest score" not in said(written)


@pytest.mark.parametrize("name", DRAWN)
def test_every_outline_has_its_regions_colour_at_its_regions_place(name: str) -> None:
    """On the page of its key slice, and where no other outline lies nearer than a few pixels."""
    story = story_of(name)
    findings = story.findings
    for number, region in enumerate(findings.regions[:12], start=1):
        index = region.key_slice
        page = slice_page(story, index, page=2, pages=2)
        assert page.placement is not None
        points = np.array([point for path in contours(region.voxels.plane(index), page.placement) for point in path])
        others = [
            point
            for other, item in enumerate(findings.regions, start=1)
            if other != number
            for path in contours(item.voxels.plane(index), page.placement)
            for point in path
        ]
        if others:
            gaps = np.linalg.norm(points[:, None] - np.array(others)[None], axis=-1).min(axis=1)
            points = points[gaps > 6]
        near = [page.pixels[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3].reshape(-1, 3) for x, y in points]
        colour = region_rgb(findings, number)
        hits = [np.abs(pixels.astype(int) - colour).max(axis=-1).min() < 45 for pixels in near]
        assert len(hits) >= 3
        assert np.mean(hits) > 0.85, (number, colour)


def test_what_lies_within_another_is_drawn_upon_it() -> None:
    """Where the outlines of three nested regions meet, all three colours are in the picture."""
    story = story_of("nested")
    page = slice_page(story, story.findings.key_slice, page=2, pages=2)
    for number in (1, 2, 3):
        away = np.abs(page.pixels[150:900].astype(int) - region_rgb(story.findings, number)).max(axis=-1)
        assert np.count_nonzero(away < 30) > 60


@pytest.mark.parametrize("name", EVERY)
def test_no_text_leaves_its_place_or_covers_another(name: str, written: list[Written]) -> None:
    """Whatever is answered: texts stay between the margins, clear of the corners and of each other."""
    story = story_of(name)
    planes = overlay.pages_for(story.findings, 4)[:1]
    for page in (
        lambda: summary_page(story, pages=1),
        *(lambda k=k: slice_page(story, k, page=2, pages=2) for k in planes),
    ):
        written.clear()
        page()
        for item in written:
            left, top, right, bottom = item.within
            assert left >= MARGIN - 2, item
            assert right <= SIDE - MARGIN + 2, item
            assert top >= 0, item
            assert bottom < SIDE, item
            if not 220 < left < right < SIDE - 220:
                assert top >= HEAD, item
                assert bottom < FOOT + 4, item
        for one, other in combinations([item for item in written if not item.upon_picture], 2):
            across = min(one.within[2], other.within[2]) - max(one.within[0], other.within[0])
            down = min(one.within[3], other.within[3]) - max(one.within[1], other.within[1])
            assert min(across, down) < 2, (one, other)


@pytest.mark.parametrize("name", EVERY)
def test_each_answer_has_its_pages(name: str) -> None:
    """A summary, and a page for each slice of what was found, at most four; nothing found is one page in grey."""
    context = context_of(name)
    pages = overlay.build(context)
    assert 1 <= len(pages) <= 5
    assert (len(pages) > 1) is bool(context.findings.regions)
    if not context.findings.regions:
        picture = pages[0].preview[150:830, 30:700].astype(int)
        assert np.ptp(picture, axis=-1).max() < 20
        assert picture.max() > 100


def test_the_middle_of_each_likely_box_has_a_page() -> None:
    """Boxes are spread over more slices than there are pages: the likeliest are all shown."""
    findings = crowded_context("30 boxes").findings
    chosen = overlay.pages_for(findings, 12)
    assert len(chosen) == 12
    assert {region.key_slice for region in findings.regions[:9]} <= set(chosen)


@pytest.mark.parametrize(("name", "called"), [("boxes", "AI box"), ("structures", "AI outline")])
def test_a_box_is_never_called_an_outline(name: str, called: str, written: list[Written]) -> None:
    """Legend of the summary and of the slice pages; what the object says was drawn."""
    story = story_of(name)
    summary_page(story, pages=2)
    slice_page(story, story.findings.key_slice, page=2, pages=2)
    assert {item.text for item in written if item.text.startswith("AI ")} - {
        "AI result, not verified, not for diagnosis"
    } == {called}
    derived = overlay.build(context_of(name))[0].dataset.DerivationDescription
    assert derived.startswith("Boxes over" if called == "AI box" else "Outlines over")


def test_many_structures_are_listed_as_far_as_they_fit_and_counted(written: list[Written]) -> None:
    """Those that the key slice shows come first, so that numbers in the picture are explained beside it."""
    story = story_of("104 structures")
    summary_page(story, pages=1)
    listed = [item.text for item in written if item.text.startswith("Structure ")]
    (more,) = (item.text for item in written if item.text.endswith("more in the report"))
    assert more == f"and {104 - len(listed)} more in the report"
    assert len(listed) > 12
    numbers = [item.text for item in written if item.upon_picture and item.text.isdigit()]
    assert 3 < len(numbers) <= NUMBERED_REGIONS
    assert {f"Structure {number}" for number in numbers} <= set(listed)
    for title in listed:
        region = story.findings.regions[int(title.split()[1]) - 1]
        assert story.findings.key_slice in region.slices


def test_a_narrow_table_leaves_out_columns_before_it_cuts_titles(written: list[Written]) -> None:
    """Of regions with a side, slices and images beside volume and mean: the images stay, and each title is whole."""
    story = story_of("nested")
    assert {region.side for region in story.findings.regions} != {None}
    summary_page(story, pages=1)
    texts = [item.text for item in written]
    assert {"volume", "side", "images"} <= set(texts)
    assert "slices" not in texts
    for title in ("Tumor core", "Whole tumor", "Enhancing tumor"):
        (drawn,) = (item for item in written if item.text == title)
        assert drawn.within[2] - drawn.within[0] == pytest.approx(font(drawn.size, Face.REGULAR).getlength(title))


def test_colours_alone_tell_few_structures_apart_and_numbers_those_that_share_one(written: list[Written]) -> None:
    """Three structures have three colours and no numbers; parts of one structure share its colour."""
    for name, count in (("nested", 0), ("separate", 2)):
        written.clear()
        story = story_of(name)
        summary_page(story, pages=1)
        numbers = [
            item for item in written if item.text in {"1", "2", "3"} and item.size == 18 and item.within[0] < 540
        ]
        assert len([item for item in numbers if not item.upon_picture]) == count
    assert region_rgb(story.findings, 1) == region_rgb(story.findings, 2) == STRUCTURES[0]


@pytest.mark.parametrize("name", ["104 structures", "1 structure", "1 box", "40 labels", "25 estimates"])
def test_one_slice_is_enough(name: str) -> None:
    """An answer on a single slice has pages without planes across, and a printed page."""
    context = crowded_context(name, only=1 if name == "1 box" else 7)
    pages = overlay.build(context)
    assert len(pages) == (2 if context.findings.regions else 1)
    assert len(pypdfium2.PdfDocument(document.pdf_page(context))) == 1


def printed_text(context: ResultContext, language: Language = Language.ENGLISH) -> str:
    """The text of the only page, on one line."""
    opened = pypdfium2.PdfDocument(document.pdf_page(context, language))
    assert len(opened) == 1
    return " ".join(opened[0].get_textpage().get_text_range().split())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("structures", ["Structure 10", "5.7 mL", "Volume", "Mean", "Slices"]),
        ("nested", ["Whole tumor", "Enhancing tumor", "AI outline"]),
        ("separate", ["Metastasis", "Long × short axis", "mm"]),
        ("boxes", ["Nodule", "0.93", "0.41", "Size", " × ", "AI box", "Highest score"]),
        ("labels", ["Pneumonia", "0.81", "Mass", "0.10", "Score"]),
        ("estimates", ["Brain age", "53.27 years", "Ejection fraction", "0.553"]),
        ("no box", ["No solitary nodule of lung suggested"]),
        ("kind uncertain", ["Indeterminate", "no reliable answer", "Infarct"]),
    ],
)
def test_the_printed_page_holds_the_table(name: str, expected: list[str]) -> None:
    """What was measured stands as text in the PDF."""
    shown = printed_text(answer_context(name))
    assert [text for text in expected if text not in shown] == []


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        (Language.GERMAN, ["11 Strukturen umrandet", "Struktur", "Volumen", "Mittelwert", "Schichten", "5,7 mL"]),
        (Language.SPANISH, ["Estructura", "Volumen", "Media", "Cortes", "5,7 mL"]),
        (Language.FRENCH, ["Structure", "Volume", "Moyenne", "Coupes", "5,7 mL"]),
    ],
)
def test_the_printed_table_speaks_the_readers_language(language: Language, expected: list[str]) -> None:
    """Headings and figures; the names are the bundle's."""
    shown = printed_text(answer_context("structures"), language)
    assert [text for text in expected if text not in shown] == []


@pytest.mark.parametrize("name", EVERY)
def test_any_answer_fits_on_one_printed_page(name: str) -> None:
    """In French, whose labels are longest: nothing beside the margins, and no line printed upon another."""
    pdf = pypdfium2.PdfDocument(document.pdf_page(context_of(name), Language.FRENCH))
    assert len(pdf) == 1
    page = pdf[0]
    seen = page.render(scale=4 * 25.4 / 72).to_numpy()
    assert (seen[4 * 269 :] == 255).all()
    assert (seen[:, : 4 * 15] == 255).all()
    assert (seen[:, -4 * 15 :] == 255).all()
    text = page.get_textpage()
    boxes = [text.get_rect(index) for index in range(text.count_rects())]
    for one, other in combinations(boxes, 2):
        across = min(one[2], other[2]) - max(one[0], other[0])
        down = min(one[3], other[3]) - max(one[1], other[1])
        assert min(across, down) < 1.5, (text.get_text_bounded(*one), text.get_text_bounded(*other))


def test_a_heat_map_of_any_kind_of_answer_is_named(written: list[Written]) -> None:
    """An explained class is compared with the original; an explained number has a map of no class."""
    for name, called in (("kind", "Activation, relative, for bleed"), ("estimates", "Activation, relative")):
        written.clear()
        context = answer_context(name)
        heatmap = np.zeros(context.volume.shape, np.float32)
        heatmap[:, 30:50, 30:50] = 1
        findings = replace(context.findings, heatmap=heatmap)
        assert findings.model.kind in {AnswerKind.CLASSIFICATION, AnswerKind.REGRESSION}
        story = Story(context.volume, findings)
        summary_page(story, pages=1)
        assert called in [item.text for item in written]
        explained = replace(context, findings=findings)
        assert "relative" in printed_text(explained)
        assert len(overlay.build(explained)) == (2 if findings.outcome is Outcome.FINDING else 1)
