"""The PDF report: one page that names the patient truly and says what it is; the same bytes for the same findings."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from pipeline import phantom
from pipeline.caveats import free_text
from pipeline.findings.model import Outcome
from pipeline.findings.places import with_places
from pipeline.report.sentences import Language
from pipeline.results.drawing.pages import Story
from pipeline.results.pdf import document
from pipeline.results.pdf.pictures import CAPTIONS, HEIGHT, layout
from pipeline.results.pdf.sheet import INNER
from pipeline.results.profile import KINDS
from pipeline.results.provenance import ResultContext
from tests.conformance.synthetic import MODEL, build_all, context_of, phantom_context, with_own_headers
from tests.conftest import ROOT
from tests.unit.pipeline.results.seg.test_segmentation import awkward_masks


def read(pdf: bytes) -> str:
    """The text of the only page, on one line."""
    opened = pypdfium2.PdfDocument(pdf)
    assert len(opened) == 1
    return " ".join(opened[0].get_textpage().get_text_range().split())


def picture(pdf: bytes) -> np.ndarray:
    """The page as it is seen, uint8 (rows, columns, 3), 4 pixels a millimetre."""
    seen = pypdfium2.PdfDocument(pdf)[0].render(scale=4 * 25.4 / 72).to_numpy()
    return np.asarray(seen)[..., ::-1]


def named(name: str, character_set: str | list[str] = "ISO_IR 192", **more: object) -> ResultContext:
    """A run over a phantom whose patient is called ``name``."""
    datasets = phantom.head_phantom(slices=12, matrix=64)
    for ds in datasets:
        ds.SpecificCharacterSet = character_set
        ds.PatientName = name
        for keyword, value in more.items():
            setattr(ds, keyword, value)
    return context_of(datasets, phantom.lesion_mask(datasets))


@pytest.mark.parametrize("outcome", [Outcome.FINDING, Outcome.NO_FINDING, Outcome.INDETERMINATE])
def test_it_says_whose_it_is_what_was_found_and_what_it_is_not(outcome: Outcome) -> None:
    """Patient, disclaimer, answer, model and caveat stand on the page, whatever the outcome."""
    shown = read(document.pdf_page(phantom_context(outcome=outcome)))
    for expected in ("Phantom, Candela", "CANDELA-PHANTOM", "2026-01-05", "AI result, not verified, not for diagnosis"):
        assert expected in shown
    for expected in ("A radiologist has not yet read this result", MODEL.title, MODEL.version, "Plain T1"):
        assert expected in shown
    answer = {"finding": "Glioma suggested", "no_finding": "No tumor suggested", "indeterminate": "Indeterminate"}
    assert answer[outcome] in shown


def test_measures_and_probabilities_stand_in_its_tables() -> None:
    """Volume, axes, side, slices and images of each region, and every class with its probability."""
    context = with_own_headers(phantom_context())
    for k, ds in enumerate(context.volume.sources):
        ds.InstanceNumber = 900 - k
    context = replace(context, findings=with_places(context.findings, context.volume))
    shown = read(document.pdf_page(context))
    (lesion,) = context.findings.regions
    first, last = lesion.slices[0], lesion.slices[-1]
    for expected in (
        f"{lesion.value('volume') / 1000:.1f} mL",
        f"{lesion.long_axis.length_mm:.0f} × {lesion.short_axis.length_mm:.0f} mm left {first + 1}–{last + 1} ",
        f" {900 - last}–{900 - first} ",
        "Meningioma",
        "0.09",
    ):
        assert expected in shown


@pytest.mark.parametrize(
    ("name", "character_set", "shown"),
    [
        ("Müller^Änne", "ISO_IR 100", "Müller, Änne"),
        ("Διονυσιος", "ISO_IR 126", "Διονυσιος"),
        ("Люкceмбypг", "ISO_IR 144", "Люкceмбypг"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", ["", "ISO 2022 IR 87"], "Yamada, Tarou 山田 太郎 やまだ たろう"),
        ("Hong^Gildong=洪^吉洞=홍^길동", ["", "ISO 2022 IR 149"], "Hong, Gildong 洪 吉洞 홍 길동"),
        ("Wang^XiaoDong=王^小东", "GB18030", "Wang, XiaoDong 王 小东"),
        ("Wang^XiaoDong=王^小東", "ISO_IR 192", "Wang, XiaoDong 王 小東"),
    ],
)
def test_names_are_set_in_their_own_script(name: str, character_set: str | list[str], shown: str) -> None:
    """Latin, Greek, Cyrillic, Japanese, Korean and Chinese names, each from its own character set (PS3.5 H to K)."""
    assert shown in read(document.pdf_page(named(name, character_set)))


def test_arabic_and_hebrew_are_joined_and_run_from_right_to_left() -> None:
    """What a reader of PDF finds is the name, and the letters take their joined forms."""
    for name in ("قباني^لنزار", "שרון^דבורה"):
        shown = read(document.pdf_page(named(name)))
        assert all(part in shown for part in name.split("^")), shown


def test_a_script_without_a_typeface_is_left_out_never_boxes() -> None:
    """Thai has no typeface here: the page says so and knows the patient by the identifier; other groups stay."""
    shown = read(document.pdf_page(named("สมชาย^ใจดี")))
    assert "in a script that this page cannot show" in shown
    assert "CANDELA-PHANTOM" in shown
    assert "Somchai, Jaidee" in read(document.pdf_page(named("Somchai^Jaidee=สมชาย^ใจดี")))


def test_bytes_that_their_character_set_does_not_have_are_no_name() -> None:
    """A wrong character set gives no invented letters: what cannot be decoded is left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context = named("Müller", "ISO_IR 192")
        for ds in context.volume.sources:
            ds.SpecificCharacterSet = "ISO 2022 IR 87"
            ds[0x00100010] = RawDataElement(Tag(0x00100010), "PN", 6, b"M\xfcller", 0, False, True)
        assert "\N{REPLACEMENT CHARACTER}" not in read(document.pdf_page(context))


@pytest.mark.parametrize("length", [70, 700])
def test_a_long_name_stays_in_its_column(length: int) -> None:
    """Set smaller, then cut: nothing leaves the page or runs into its neighbour."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context = named("X" * length, StudyDescription="STUDY " * 10, PatientID="9" * 64, AccessionNumber="A" * 16)
        seen = picture(document.pdf_page(context))
    assert (seen[:, : 4 * 15] == 255).all()
    assert (seen[:, -4 * 15 :] == 255).all()
    assert (seen[4 * 24 : 4 * 40, 4 * 101 : 4 * 108] == 255).all()  # the gap between the columns


def test_a_header_without_anything_is_a_page_all_the_same() -> None:
    """No name, no identifier, no date: the page says nothing rather than something wrong."""
    datasets = phantom.head_phantom(slices=12, matrix=64)
    for ds in datasets:
        for keyword in ("PatientName", "PatientID", "StudyDate", "StudyTime", "SeriesDate", "SpecificCharacterSet"):
            del ds[keyword]
        del ds.AcquisitionDate, ds.ContentDate
    shown = read(document.pdf_page(context_of(datasets)))
    assert "Patient —" in shown
    assert "Date —" in shown


def test_it_names_sex_referrer_and_the_time_of_the_analysis() -> None:
    context = named("Doe^Jane", PatientSex="F", ReferringPhysicianName="Gray^Asa", TimezoneOffsetFromUTC="+0100")
    shown = read(document.pdf_page(context, Language.GERMAN))
    for expected in ("Geschlecht weiblich", "Überwiesen von Gray, Asa", "Berechnet 05.01.2026 11:30."):
        assert expected in shown


@pytest.mark.parametrize("outcome", [Outcome.FINDING, Outcome.NO_FINDING])
def test_pictures_take_the_room_that_there_is(outcome: Outcome) -> None:
    """Three planes of every head, apart from each other, and captions within the room."""
    made = phantom_context(outcome=outcome)
    story = Story(made.volume, made.findings)
    highs = []
    for room in (HEIGHT, 100.0, 120.0, 150.0):
        places = layout(story, room)
        assert places.high + (0 if places.beside else CAPTIONS) <= room
        assert places.wide <= INNER + 0.01
        boxes = [*places.key, *places.across]
        assert len(boxes) == (4 if outcome is Outcome.FINDING else 3)
        canvas = np.zeros((round(places.high * 8), round(places.wide * 8)), int)
        for box in boxes:
            canvas[box.y : box.y + box.height, box.x : box.x + box.width] += 1
        assert canvas.max() == 1
        highs.append(places.high)
    assert highs == sorted(highs)
    assert highs[0] < highs[-1]


@pytest.mark.parametrize("name", awkward_masks())
def test_any_number_of_regions_fits_on_one_page(name: str) -> None:
    """Forty regions, one voxel, the border: one page, and what is left out is counted."""
    context = context_of(phantom.head_phantom(slices=12, matrix=64), awkward_masks()[name])
    many = tuple(free_text(f"Caveat {number}: {'long ' * 60}") for number in range(9))
    context = replace(context, findings=replace(context.findings, caveats=many))
    pdf = document.pdf_page(context)
    shown = read(pdf)
    assert ("and 36 smaller ones in the structured report" in shown) is (name == "forty")
    assert "more in the structured report" in shown
    seen = picture(pdf)
    assert (seen[4 * 269 :] == 255).all()  # within Letter's height
    assert MODEL.digest[:16] in shown


@pytest.mark.nightly
def test_the_same_findings_give_the_same_bytes_in_another_process() -> None:
    """No clock, no random identifier: a result is a function of the source and the model.

    Each run compares the objects of every kind, this page among them, in `test_provenance`.
    """
    code = (
        "import hashlib, sys; from tests.conformance.synthetic import phantom_context;"
        "from pipeline.results.pdf.document import pdf_page;"
        "print(hashlib.sha256(pdf_page(phantom_context())).hexdigest())"
    )
    runs = {
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT).stdout for _ in range(2)
    }
    assert len(runs) == 1


def test_the_page_was_made_when_the_analysis_began() -> None:
    pdf = document.pdf_page(phantom_context())
    assert b"D:20260105113000+01'00'" in pdf


def test_the_object_holds_the_page_and_its_true_length() -> None:
    """Encapsulated PDF: padded to an even length, the true length beside it, derived from each source instance."""
    context = phantom_context()
    (item,) = document.build(context)
    ds: Dataset = item.dataset
    assert ds.SOPClassUID.name == "Encapsulated PDF Storage"
    assert len(ds.EncapsulatedDocument) % 2 == 0
    assert document.pdf_of((item,)) == document.pdf_page(context)
    assert (ds.BurnedInAnnotation, ds.MIMETypeOfEncapsulatedDocument) == ("YES", "application/pdf")
    named = [source.ReferencedSOPInstanceUID for source in ds.SourceInstanceSequence]
    assert named == [source.SOPInstanceUID for source in context.volume.sources]
    assert document.pdf_of(()) is None


def test_reading_a_name_for_the_page_leaves_the_sources_bytes_alone(tmp_path: Path) -> None:
    """pydicom decodes an element for good when it is read; the other results still get the bytes of the file."""
    import pydicom

    datasets = phantom.head_phantom(slices=3, matrix=16)
    for ds in datasets:
        ds.SpecificCharacterSet, ds.PatientName = ["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"
    sources = tuple(pydicom.dcmread(path) for path in phantom.save(datasets, tmp_path))
    raw = sources[0].get_item("PatientName").value
    assert isinstance(raw, bytes)
    results = build_all(context_of(sources, outcome=Outcome.NO_FINDING))
    assert sources[0].get_item("PatientName").value == raw
    assert {bytes(item.dataset.get_item("PatientName").value).strip() for item in results} == {raw.strip()}


@pytest.mark.parametrize("language", [Language.ENGLISH, Language.FRENCH])
def test_the_page_ends_with_the_link_where_a_site_wants_one(language: Language) -> None:
    """Printed whole with the longest address that the settings permit; without a link nothing of it is there."""
    plain = phantom_context()
    url = f"https://{'h' * 52}/jobs/{'2.25.' + '9' * 39}:{'f' * 16}:{'0' * 12}/assessment"
    context = replace(plain, assess_at=url)
    pdf = document.pdf_page(context, language)
    assert url in read(pdf).replace(" ", "")
    assert f"/URI ({url})".encode() in pdf
    longer = replace(plain, assess_at=url.replace("2.25.", "2.25." + "9" * 20))
    assert f"/URI ({longer.assess_at})".encode() in document.pdf_page(longer, language)
    assert b"/URI" not in document.pdf_page(plain, language)


def test_a_page_with_a_link_is_another_instance_and_the_other_results_are_the_same() -> None:
    plain = phantom_context()
    linked = replace(plain, assess_at="https://candela.example/jobs/x/assessment")
    changed = [kind for kind in KINDS if plain.instance_uid(kind) != linked.instance_uid(kind)]
    assert changed == ["document", "keyobjects"]
