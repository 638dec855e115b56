"""The overlay pages: true geometry, honest colours, every warning, no name; and a picture worth looking at."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from pydicom.dataset import Dataset

from pipeline import phantom
from pipeline.caveats import free_text
from pipeline.errors import MissingSlices
from pipeline.findings.model import Outcome
from pipeline.geometry.build import build_volume
from pipeline.geometry.volume import Volume
from pipeline.results.colours import OUTLINE_RGB
from pipeline.results.drawing.canvas import SIDE, Box, place
from pipeline.results.drawing.fonts import wrap
from pipeline.results.drawing.page_parts import FOOT, HEAD
from pipeline.results.drawing.pages import SINGLE, Story, slice_page, summary_page
from pipeline.results.drawing.picture import contours, direction_letters, display_window, point_of_interest
from pipeline.results.profile import Profile
from pipeline.results.provenance import ResultContext
from pipeline.results.sc import overlay, refusal
from tests.conformance.synthetic import MODEL, build_all, context_of, phantom_context
from tests.unit.pipeline.results.seg.test_segmentation import awkward_masks


def is_outline(pixels: np.ndarray) -> np.ndarray:
    """Where a picture is of the outline's colour."""
    return np.abs(pixels.astype(int) - OUTLINE_RGB).max(axis=-1) < 40


@pytest.mark.parametrize("outcome", [Outcome.FINDING, Outcome.NO_FINDING, Outcome.INDETERMINATE])
def test_every_page_says_that_it_is_not_verified_and_who_made_it(outcome: Outcome, written: list[str]) -> None:
    """Disclaimer, model and version in the pixels of each page."""
    pages = overlay.build(phantom_context(outcome=outcome))
    assert written.count("AI result, not verified, not for diagnosis") == len(pages)
    assert sum(MODEL.title in text for text in written) == len(pages)
    assert sum(MODEL.version in text and MODEL.digest[:12] in text for text in written) == len(pages)


def test_no_page_names_the_patient(written: list[str]) -> None:
    """Nothing that identifies the patient, the order or the site is drawn."""
    header = phantom.Header(
        patient_id="PID-4711",
        patient_name="Secret^Name",
        accession_number="ACC-4712",
        study_description="STUDY-4713",
        series_description="SERIES-4714",
        key="names",
    )
    datasets = phantom.head_phantom(slices=12, matrix=64, header=header)
    overlay.build(context_of(datasets, phantom.lesion_mask(datasets)))
    shown = " ".join(written)
    assert "Slice" in shown
    for secret in ("Secret", "Name", "4711", "4712", "4713", "4714", "Phantom"):
        assert secret not in shown


def test_the_answer_leads(written: list[str]) -> None:
    """Class, probability, measures and caveat are on the summary page."""
    context = phantom_context()
    summary_page(Story(context.volume, context.findings), pages=1)
    shown = " | ".join(written)
    for expected in ("Glioma suggested", "0.86", "model probability", "mL", "mm", "Plain T1"):
        assert expected in shown


def test_an_unreliable_answer_is_not_dressed_as_a_sure_one(written: list[str]) -> None:
    """Indeterminate says so first and shows no large figure."""
    context = phantom_context(outcome=Outcome.INDETERMINATE)
    summary_page(Story(context.volume, context.findings), pages=1)
    assert "Indeterminate: no reliable answer" in written
    assert "read the images without it" in written
    before = written[: written.index("Model probability")]
    assert not [text for text in before if "glioma" in text.lower() and not text.startswith("Activation")]
    assert "0.40" not in written[: written.index("Model probability")]


def test_no_finding_is_one_page_without_colour() -> None:
    """Where nothing is suggested, nothing is coloured: the picture is grey."""
    (item,) = overlay.build(phantom_context(outcome=Outcome.NO_FINDING))
    assert item.preview is not None
    picture = item.preview[140:830, 30:720].astype(int)
    assert np.ptp(picture, axis=-1).max() < 20  # the faintly blue grey of letters and marks
    assert picture.max() > 100


def test_planes_across_a_negative_go_through_the_middle() -> None:
    """Where the model looked most does not matter: nothing was found there."""
    context = phantom_context(outcome=Outcome.NO_FINDING)
    heat = np.zeros(context.volume.shape, np.float32)
    heat[context.findings.key_slice, 5, 5] = 1
    point = point_of_interest(context.volume, replace(context.findings, heatmap=heat))
    _, row, column = context.volume.to_index(point)
    assert (row, column) == pytest.approx((32, 32))


def stored_otherwise(datasets: Sequence[Dataset], mask: np.ndarray) -> tuple[list[Dataset], np.ndarray]:
    """The same series as a scanner writes it whose rows run down the old columns, and columns up the old rows."""
    made = [copy.deepcopy(ds) for ds in datasets]
    for ds in made:
        across, down = np.array(ds.ImageOrientationPatient, float).reshape(2, 3)
        row_mm, column_mm = (float(value) for value in ds.PixelSpacing)
        corner = np.array(ds.ImagePositionPatient, float) + down * row_mm * (ds.Rows - 1)
        ds.PixelData = np.ascontiguousarray(ds.pixel_array.T[:, ::-1]).tobytes()
        ds.ImagePositionPatient = [float(value) for value in corner]
        ds.ImageOrientationPatient = [float(value) for value in (*-down, *across)]
        ds.PixelSpacing = [column_mm, row_mm]
    return made, np.stack([plane.T[:, ::-1] for plane in mask])


@pytest.mark.parametrize("plane", ["axial", "sagittal"])
def test_pages_are_upright_whatever_way_the_images_are_stored(plane: phantom.Plane) -> None:
    """The same pictures, letters, planes across and geometry; only rounding differs."""
    straight = phantom.head_phantom(plane=plane, slices=12, matrix=64)
    mask = phantom.lesion_mask(straight)
    turned, turned_mask = stored_otherwise(straight, mask)
    volume = build_volume(turned)
    assert not np.array_equal(volume.array, build_volume(straight).array)
    for one, other in zip(
        overlay.build(context_of(straight, mask)), overlay.build(context_of(turned, turned_mask)), strict=True
    ):
        assert one.preview is not None
        assert other.preview is not None
        pictures = (item.preview[140:900].astype(int) for item in (one, other))
        # of two diameters of one length either may be drawn
        assert (np.abs(np.subtract(*pictures)).max(axis=-1) > 24).mean() < 0.01
        if "ImagePositionPatient" in one.dataset:
            for keyword in ("ImageOrientationPatient", "ImagePositionPatient"):
                assert list(one.dataset[keyword].value) == pytest.approx(list(other.dataset[keyword].value), abs=1e-3)


def test_the_lesions_slices_follow_the_summary() -> None:
    """One page for each slice that the lesion touches, from one end to the other."""
    context = phantom_context()
    (lesion,) = context.findings.regions
    pages = overlay.build(context)
    sources = [item.dataset.SourceImageSequence[0].ReferencedSOPInstanceUID for item in pages]
    planes = overlay.pages_for(context.findings, 4)
    assert set(planes) <= set(lesion.slices)
    assert sources == [context.volume.sources[k].SOPInstanceUID for k in (lesion.key_slice, *planes)]
    assert [item.filename for item in pages] == [f"overlay-{n:03d}.dcm" for n in range(1, len(pages) + 1)]
    assert [item.dataset.InstanceNumber for item in pages] == list(range(1, len(pages) + 1))


def with_caveats(context: ResultContext, *said: str) -> ResultContext:
    return replace(context, findings=replace(context.findings, caveats=tuple(map(free_text, said))))


@pytest.mark.parametrize("outcome", [Outcome.FINDING, Outcome.NO_FINDING])
def test_no_caveat_is_cut_off(outcome: Outcome, written: list[str]) -> None:
    """What the summary has no room for is whole on a last page, which the summary names."""
    said = [f"Caveat {number}, which says what it has to say at some length, as caveats do" for number in range(14)]
    context = phantom_context(outcome=outcome)
    few, many = overlay.build(with_caveats(context, said[0])), overlay.build(with_caveats(context, *said))
    assert len(many) == len(few) + 1
    assert many[-1].dataset.SourceImageSequence == many[0].dataset.SourceImageSequence
    assert "ImagePositionPatient" not in many[-1].dataset
    planar = Profile(objects=("overlay", "report"), report_flavour="planar")
    assert build_all(with_caveats(context, *said), planar), "reports find the pages of slices among them"
    shown = " ".join(written)
    assert f"more on page {len(many)}." in shown
    assert all(f"{sentence}." in shown for sentence in said)
    assert "…" not in shown


def test_caveats_beyond_a_page_are_counted(written: list[str]) -> None:
    overlay.build(with_caveats(phantom_context(outcome=Outcome.NO_FINDING), *("word " * 90 for _ in range(30))))
    assert any(text.endswith("more in the report.") for text in written)


def test_a_long_lesion_gets_a_bounded_number_of_pages() -> None:
    """Evenly chosen slices, with the key slice and the diameter's among them."""
    datasets = phantom.head_phantom(slices=60, matrix=32)
    mask = np.zeros((60, 32, 32), bool)
    mask[2:57, 10:16, 10:16] = True
    mask[31, 10:18, 10:18] = True
    mask[40, 10:12, 8:20] = True
    findings = context_of(datasets, mask).findings
    chosen = overlay.pages_for(findings, 12)
    assert len(chosen) == 12
    assert list(chosen) == sorted(set(chosen))
    assert {2, 56, 31, 40} <= set(chosen)
    assert findings.key_slice == 31
    assert findings.regions[0].long_axis.slice_index == 40
    assert max(np.diff(chosen)) <= 2 * 55 / 12
    assert overlay.pages_for(findings, 4) == (2, 31, 40, 56)
    assert overlay.pages_for(findings, 1) == (31,)
    assert overlay.pages_for(findings, 0) == ()


def test_a_finding_without_an_outline_shows_its_key_slice() -> None:
    """The class is explained by the heat map even where no region was outlined."""
    findings = replace(phantom_context().findings, regions=())
    assert overlay.pages_for(findings, 4) == (findings.key_slice,)
    assert overlay.pages_for(findings, 0) == ()
    assert overlay.pages_for(replace(findings, outcome=Outcome.INDETERMINATE), 4) == ()


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_page_lies_where_its_slice_lies(plane: phantom.Plane) -> None:
    """Position, orientation and spacing of a slice page take each drawn pixel to the patient as the source does.

    Found by the outline: the cyan pixels' centre, through the page's own geometry, is the centre of the lesion's plane.
    """
    context = phantom_context(plane, matrix=128)
    (lesion,) = context.findings.regions
    for item in overlay.build(context)[1:]:
        ds = item.dataset
        assert item.preview is not None
        index = [s.SOPInstanceUID for s in context.volume.sources].index(
            ds.SourceImageSequence[0].ReferencedSOPInstanceUID
        )
        assert ds.FrameOfReferenceUID == context.volume.sources[0].FrameOfReferenceUID
        assert ds.ImageOrientationPatient == context.volume.sources[index].ImageOrientationPatient
        rows, columns = np.nonzero(is_outline(item.preview[SINGLE.y : SINGLE.bottom, : SINGLE.right]))
        y, x = SINGLE.y + (rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2
        across, down = np.array(ds.ImageOrientationPatient, float).reshape(2, 3)
        point = np.array(ds.ImagePositionPatient, float)
        point = point + across * x * ds.PixelSpacing[1] + down * y * ds.PixelSpacing[0]
        inside = np.argwhere(lesion.mask[index])
        middle = (inside.min(axis=0) + inside.max(axis=0)) / 2
        assert np.allclose(point, context.volume.to_patient((index, *middle)), atol=1.5 * ds.PixelSpacing[0])


def test_the_image_lies_where_the_page_says() -> None:
    """What is bright in one corner of the source is bright there on the page, and in no mirror image of that place."""
    array = np.full((6, 64, 64), 300, np.uint16)
    array[:, 10:16, 40:48] = 900
    header = phantom.Header(key="one corner")
    datasets = phantom.series_from_arrays(array, plane="axial", pixel_spacing=2.0, slice_spacing=4.0, header=header)
    context = context_of(datasets, array == 900)
    page = slice_page(Story(context.volume, context.findings), 3, page=2, pages=2)
    assert page.placement is not None

    def light(row: float, column: float) -> float:
        x, y = map(round, page.placement.to_page(row, column))
        return float(page.pixels[y - 4 : y + 5, x - 4 : x + 5].max(axis=-1).mean())

    row, column = 12.5, 43.5
    assert light(row, column) > 2 * max(light(row, 63 - column), light(63 - row, column), light(63 - row, 63 - column))


def test_the_summary_claims_no_geometry() -> None:
    """Two pictures on one page have no common position in the patient."""
    ds = overlay.build(phantom_context())[0].dataset
    assert not {"ImagePositionPatient", "PixelSpacing", "FrameOfReferenceUID"} & set(ds.dir())


def test_the_diameter_is_drawn_from_edge_to_edge_of_the_outline() -> None:
    """Both ends of the long axis lie on the contour."""
    context = phantom_context(matrix=128)
    (lesion,) = context.findings.regions
    placement = place(context.volume.shape[1:], context.volume.spacing[1:], SINGLE)
    points = np.array([p for path in contours(lesion.mask[lesion.long_axis.slice_index], placement) for p in path])
    for end in (lesion.long_axis.start, lesion.long_axis.end):
        assert np.linalg.norm(points - placement.to_page(*end), axis=1).min() < 0.1


def test_colour_follows_activation() -> None:
    """Where the map is below its threshold the picture stays as it was; where it is strongest it is coloured."""
    context = phantom_context()
    findings = replace(context.findings, regions=())
    index = findings.key_slice
    heatmap = np.zeros_like(findings.heatmap)
    heatmap[index, 20:40, 20:40] = 1
    page = slice_page(Story(context.volume, replace(findings, heatmap=heatmap)), index, page=2, pages=2)
    assert page.placement is not None
    colour = np.ptp(page.pixels.astype(int), axis=-1)
    for place_in_plane, coloured in (((30, 30), True), ((50, 50), False)):
        x, y = page.placement.to_page(*place_in_plane)
        assert bool(colour[round(y), round(x)] > 30) is coloured


@pytest.mark.parametrize(
    ("spacing", "shape"), [((2.0, 0.5), (64, 256)), ((0.5, 2.0), (256, 64)), ((0.9, 0.9), (64, 64))]
)
def test_pixels_that_are_not_square_show_true_proportions(spacing: tuple[float, float], shape: tuple[int, int]) -> None:
    """A millimetre is as long across as down, whatever the pixel's shape."""
    affine = np.diag([5.0, *spacing, 1.0])
    volume = Volume(np.zeros((3, *shape), np.float32), affine, ())
    placement = place(volume.shape[1:], volume.spacing[1:], Box(40, 92, 860, 860))
    height, width = shape[0] * spacing[0], shape[1] * spacing[1]
    assert placement.width / placement.height == pytest.approx(width / height, rel=0.01)
    assert max(placement.width, placement.height) == 860
    x, y = placement.to_page(10, 20)
    assert placement.to_plane(x, y) == pytest.approx((10, 20))


@pytest.mark.parametrize("matrix", [64, 300, 1024])
def test_any_matrix_fills_the_page(matrix: int) -> None:
    """The page is as large for 64² as for 1024², and not empty."""
    datasets = phantom.head_phantom(slices=3, matrix=matrix)
    (item,) = overlay.build(context_of(datasets, outcome=Outcome.NO_FINDING))
    assert item.preview is not None
    assert item.preview.shape == (SIDE, SIDE, 3)
    assert item.preview[140:830, 30:720].mean() > 20


@pytest.mark.parametrize(
    ("vector", "letters"),
    [((1, 0, 0), "L"), ((0, -1, 0), "A"), ((0, 0, 1), "H"), ((0, 0.1, -0.99), "F"), ((-0.8, 0.6, 0), "RP")],
)
def test_letters_name_directions_of_the_patient(vector: tuple[float, float, float], letters: str) -> None:
    """LPS: +x is left, +y posterior, +z head; two letters where the direction is oblique."""
    assert direction_letters(vector) == letters


@pytest.mark.parametrize(
    ("plane", "edges"),
    [("axial", {"A", "P", "L", "R"}), ("coronal", {"H", "F", "L", "R"}), ("sagittal", {"A", "P", "H", "F"})],
)
def test_the_pictures_edges_are_lettered(plane: phantom.Plane, edges: set[str], written: list[str]) -> None:
    """Each plane shows its four directions."""
    context = phantom_context(plane, slices=12)
    slice_page(Story(context.volume, context.findings), 5, page=2, pages=2)
    assert {text for text in written if text in "APLRHF"} == edges


@pytest.mark.parametrize(
    ("centre", "width"),
    [(None, None), ("", ""), ("600", "0"), ("600", "-5"), ("1e6", "10"), ("600", "1e9"), (["600", "40"], ["1", "80"])],
)
def test_an_absurd_window_is_not_used(centre: object, width: object) -> None:
    """Missing, empty, zero, negative, far off or endless windows: the picture still has black, grey and white."""
    datasets = phantom.head_phantom(slices=12, matrix=64)
    for ds in datasets:
        if centre is None:
            del ds.WindowCenter, ds.WindowWidth
        else:
            ds.WindowCenter, ds.WindowWidth = centre, width
    (item,) = overlay.build(context_of(datasets, outcome=Outcome.NO_FINDING))
    assert item.preview is not None
    picture = item.preview[140:830, 30:720, 0]
    assert picture.std() > 30
    assert (picture < 20).mean() > 0.2
    assert (picture > 200).mean() < 0.5


def test_a_sound_window_is_used() -> None:
    """The window that the technologist chose is what the reader sees."""
    volume = build_volume(phantom.head_phantom(slices=12, matrix=64))
    assert display_window(volume, 6) == pytest.approx((0, 1199))


def test_an_image_of_one_value_is_shown_all_the_same() -> None:
    """Empty slices and a constant volume divide nothing by zero."""
    datasets = phantom.head_phantom(slices=3, matrix=16)
    for ds in datasets:
        ds.PixelData = bytes(16 * 16 * 2)
    assert len(overlay.build(context_of(datasets, outcome=Outcome.NO_FINDING))) == 1


@pytest.mark.parametrize("name", awkward_masks())
def test_awkward_masks_are_drawn(name: str, written: list[str]) -> None:
    """One voxel, first and last slice, border, forty lesions: pages are drawn and the table says what it leaves out."""
    context = context_of(phantom.head_phantom(slices=12, matrix=64), awkward_masks()[name])
    pages = overlay.build(context)
    assert 2 <= len(pages) <= 5
    assert all(item.preview is not None and is_outline(item.preview[140:830, 30:720]).any() for item in pages[1:])
    assert ("and 38 more in the report" in written) is (name == "forty")


def test_the_image_is_plain_rgb_that_no_viewer_blackens() -> None:
    """8 bit RGB, planar 0, uncompressed; no rescale or window; Burned In Annotation YES; body part set."""
    for item in overlay.build(phantom_context()):
        ds: Dataset = item.dataset
        assert (ds.PhotometricInterpretation, ds.PlanarConfiguration, ds.BitsAllocated) == ("RGB", 0, 8)
        assert not {"RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth"} & set(ds.dir())
        assert ds.BurnedInAnnotation == "YES"
        assert ds.BodyPartExamined == "BRAIN"
        assert "not for diagnosis" in ds.DerivationDescription
        assert np.array_equal(ds.pixel_array, item.preview)


IMAGES = Profile(objects=("overlay", "segmentation", "heatmap"))


def test_loss_in_the_source_is_passed_on() -> None:
    """What is drawn or outlined from lossy images says so, and how much was lost (PS3.3 C.7.6.1.1.5)."""
    datasets = phantom.head_phantom(slices=12, matrix=64)
    mask = phantom.lesion_mask(datasets)
    images = [item.dataset for item in build_all(context_of(datasets, mask), IMAGES)]
    assert {ds.LossyImageCompression for ds in images} == {"00"}
    datasets[4].LossyImageCompression, datasets[4].LossyImageCompressionRatio = "01", 12
    datasets[4].LossyImageCompressionMethod = "ISO_10918_1"
    images = [item.dataset for item in build_all(context_of(datasets, mask), IMAGES)]
    assert {(ds.LossyImageCompression, ds.LossyImageCompressionRatio) for ds in images} == {("01", 12)}


def test_text_is_broken_and_cut_to_its_place() -> None:
    """Long caveats end in an ellipsis, and one endless word does not leave its column."""
    assert wrap("one two", 1000, 3, 15) == ["one two"]
    broken = wrap("word " * 60, 200, 3, 15)
    assert len(broken) == 3
    assert broken[-1].endswith("…")
    assert wrap("x" * 500, 200, 3, 15)[0].endswith("…")


def context_with_title(title: str) -> ResultContext:
    context = phantom_context(slices=12)
    return replace(context, findings=replace(context.findings, model=replace(MODEL, title=title)))


def test_a_long_model_name_stays_on_the_page() -> None:
    """The footer is cut, the objects are valid, and nothing raises."""
    pages = overlay.build(context_with_title("A very long model title " * 20))
    assert all(len(item.dataset.ManufacturerModelName) <= 64 for item in pages)


def long_words(context: ResultContext) -> ResultContext:
    """The same with names, caveats and lesions that fill every place of a page."""
    findings = context.findings
    model = replace(findings.model, title="A model with a name " * 9, manufacturer="Somebody " * 9)
    return replace(
        context, findings=replace(findings, model=model, caveats=(free_text("A caveat that is long. " * 9),) * 5)
    )


@pytest.mark.parametrize("outcome", [Outcome.FINDING, Outcome.NO_FINDING, Outcome.INDETERMINATE])
def test_the_corners_are_left_to_the_viewer(outcome: Outcome) -> None:
    """Viewers write patient, date and window over the corners of every picture: nothing of ours stands there."""
    made = [item.preview for item in overlay.build(long_words(phantom_context(outcome=outcome)))]
    reason = MissingSlices("Why it was not read. " * 60, where="x" * 80, todo="What can be done. " * 40)
    made += [item.preview for item in refusal.build(phantom.head_phantom(slices=3, matrix=16), reason, MODEL)]
    for page in made:
        assert page is not None
        assert page[:HEAD, :300].max() == page[:HEAD, -300:].max() == 0
        assert page[FOOT:, :220].max() == page[FOOT:, -220:].max() == 0
        assert page[:HEAD, 300:-300].max() > 0
        assert page[FOOT:, 220:-220].max() > 0
        assert page[38:HEAD].max() == 0  # OHIF's cine bar lies there
