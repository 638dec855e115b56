"""Colours that everybody tells apart, planes across in true proportions, typefaces, and pictures of awkward sources."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from skimage.color import rgb2lab

from pipeline import phantom
from pipeline.caveats import free_text
from pipeline.findings.codes import BRAIN, GLIOMA, ClassTerm
from pipeline.findings.model import ClassProbability, Findings, Outcome
from pipeline.geometry.build import build_volume
from pipeline.geometry.volume import Volume
from pipeline.results.colours import OUTLINE_RGB
from pipeline.results.drawing.canvas import SIDE, Box, Canvas, place
from pipeline.results.drawing.fonts import Face, can_draw, can_print, cut, runs, width
from pipeline.results.drawing.heat_colours import TISSUE, blend, scale
from pipeline.results.drawing.multiplanar import reformats_across, source_plane, trimmed
from pipeline.results.drawing.page_parts import in_sentence, shown
from pipeline.results.drawing.pages import Story, summary_page
from pipeline.results.drawing.picture import direction_letters, display_window, point_of_interest
from pipeline.results.sc import overlay
from tests.conformance.synthetic import MODEL, context_of, phantom_context

SIGHT = {
    "normal": np.eye(3),
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB."""


def as_seen(colours: np.ndarray, sight: str) -> np.ndarray:
    """CIELAB of sRGB ``colours`` (n, 3; 0..255) as somebody with ``sight`` sees them."""
    share = np.asarray(colours, float) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.array(SIGHT[sight]).T, 0, 1)
    back = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return rgb2lab(back[None])[0]


def over(grey: float) -> np.ndarray:
    """The heat map's 256 colours as they look over ``grey``."""
    colours, opacity = scale()
    return grey * (1 - opacity[:, None]) + colours * opacity[:, None]


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize(("grey", "least"), [(20, 40), (TISSUE, 40), (180, 20)])
def test_the_outline_stands_out_from_the_heat_map_for_every_eye(sight: str, grey: float, least: float) -> None:
    """Far in CIELAB from any colour of the map and from bare tissue; 2.3 is what one just notices. Bright tissue under
    no colour is nearest, and there the outline's dark edge helps.
    """
    outline = as_seen(np.array([OUTLINE_RGB]), sight)
    assert np.linalg.norm(as_seen(over(grey), sight) - outline, axis=1).min() > least


def test_equal_steps_of_activation_are_equal_steps_to_the_eye() -> None:
    """Over the tissue that the map was made for no step is twice another, and what is stronger is lighter."""
    lab = as_seen(over(TISSUE), "normal")
    steps = np.linalg.norm(np.diff(lab[32:], axis=0), axis=1)  # from where the colour begins
    assert steps.max() < 2 * steps.min()
    assert (np.diff(lab[::16, 0]) > -0.5).all()
    assert lab[-1, 0] - lab[0, 0] > 20


def test_anatomy_shows_through_the_strongest_colour() -> None:
    """A third of the contrast between dark and bright tissue is left where the activation is 1."""
    tissue = np.array([[[60] * 3, [200] * 3]], np.uint8)
    dark, bright = blend(tissue, np.ones((1, 2), np.float32))[0].astype(float).mean(axis=-1)
    assert bright - dark > 140 / 3


def test_a_heat_map_with_holes_is_drawn() -> None:
    """Not a number counts as no activation, beyond 1 as 1."""
    grey = np.full((1, 3, 3), 90, np.uint8)
    drawn = blend(grey, np.array([[np.nan, 7.0, 1.0]], np.float32))
    assert (drawn[0, 0] == 90).all()
    assert (drawn[0, 1] == drawn[0, 2]).all()


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_planes_across_are_true_to_scale_and_upright(plane: phantom.Plane) -> None:
    """The lesion is a ball: in each plane across it is as wide as high, and head or anterior is up, left right."""
    context = phantom_context(plane, slices=24, matrix=128)
    reformats = reformats_across(context.volume, context.findings, point_of_interest(context.volume, context.findings))
    assert len(reformats) == 2
    edges = {"".join(direction_letters(v) for v in (item.across, item.down)) for item in reformats}
    expected = {"axial": {"LF", "PF"}, "coronal": {"LP", "PF"}, "sagittal": {"LP", "LF"}}
    assert edges == expected[plane]
    for item in reformats:
        ((number, mask),) = item.masks
        assert number == 1
        rows, columns = np.nonzero(mask >= 0.5)
        high, wide = np.ptp(rows) * item.spacing[0], np.ptp(columns) * item.spacing[1]
        spacing = max(context.volume.spacing)
        assert abs(high - 2 * phantom.LESION_RADIUS) <= 1.5 * spacing + 2
        assert abs(wide - 2 * phantom.LESION_RADIUS) <= 1.5 * spacing + 2
        placement = place(item.shape, item.spacing, Box(0, 0, 300, 300))
        assert placement.pixels_per_row == pytest.approx(placement.pixels_per_column)


def test_planes_across_a_tilted_stack_are_not_skewed() -> None:
    """The slices are shifted along rows (a tilted gantry): a straight rod along the normal stays straight."""
    affine = np.diag([4.0, 1.0, 1.0, 1.0])
    affine[:3, :3] = [[0, 0, 1.0], [1.5, 1.0, 0], [4.0, 0, 0]]  # each slice lies 1.5 mm further down its rows
    array = np.zeros((20, 60, 60), np.float32)
    for k in range(20):
        array[k, 40 - round(1.5 * k), 30] = 100  # the same place in the patient
    volume = Volume(array, affine, ())
    nothing = Findings(Outcome.FINDING, "a", (), (), np.zeros_like(array), 10, MODEL)
    point = volume.to_patient((10, 25, 30))
    along = next(item for item in reformats_across(volume, nothing, point) if abs(item.across[1]) > 0.9)
    bright = [int(np.argmax(row)) for row in np.nan_to_num(along.grey) if np.nan_to_num(row).max() > 20]
    assert len(bright) > 40
    assert np.ptp(bright) <= 2  # the rod was put on whole rows; a skewed plane would be 30 pixels off


@pytest.mark.parametrize(("slices", "matrix"), [(3, 64), (7, 64)])
def test_few_slices_have_no_planes_across(slices: int, matrix: int) -> None:
    """A strip that nobody recognises is left out; the page is drawn without it."""
    context = phantom_context(slices=slices, matrix=matrix)
    point = point_of_interest(context.volume, context.findings)
    assert reformats_across(context.volume, context.findings, point) == ()
    assert summary_page(Story(context.volume, context.findings), pages=1).pixels.shape == (SIDE, SIDE, 3)


def test_trimming_takes_air_and_never_what_was_found() -> None:
    """The head fills the picture; a lesion in the corner, in the air, stays; places keep their pixels."""
    datasets = phantom.head_phantom(slices=12, matrix=64)
    mask = np.zeros((12, 64, 64), bool)
    mask[6, :2, :2] = True
    for outlined, smaller in ((None, True), (mask, False)):
        context = context_of(datasets, outlined, Outcome.FINDING if outlined is not None else Outcome.NO_FINDING)
        findings = replace(context.findings, heatmap=np.zeros_like(context.findings.heatmap))
        reformat = source_plane(context.volume, findings, 6)
        cropped = trimmed(reformat, (0, 1200))
        assert (cropped.shape != reformat.shape) is smaller or cropped.first == (0, 0)
        middle = np.array(reformat.shape) / 2
        place_there = context.volume.to_patient((6, *middle))
        assert cropped.to_pixel(place_there) == pytest.approx(cropped.from_source(tuple(middle)), abs=1e-6)
        assert len(cropped.masks) == (0 if outlined is None else 1)


@pytest.mark.parametrize(
    ("text", "printed", "drawn"),
    [
        ("Glioma · 224² ≥ 1", True, True),
        ("Ωμέγα Привет Ħ", True, True),
        ("山田 太郎 やまだ 김희중 王小东", True, True),
        ("قباني", True, False),
        ("שרון", True, False),
        ("สมชาย", False, False),
        ("a\N{REPLACEMENT CHARACTER}b", False, False),
        ("a\x1bb", False, False),
        ("\N{GRINNING FACE}\U000f0000", False, False),
    ],
)
def test_it_is_known_what_can_be_shown(text: str, printed: bool, drawn: bool) -> None:
    """What has no glyph is never drawn as a box, and what needs joining is not drawn letter by letter."""
    assert can_print(text) is printed
    assert can_draw(text) is drawn
    assert all(face in Face for _, face in runs(text, Face.REGULAR))


def test_text_that_cannot_be_drawn_has_a_plain_spelling() -> None:
    """A class called in Arabic has its name; letters that have a plain form keep it."""
    assert shown("ورم", "glioma") == "glioma"
    assert shown("髄膜腫", "x") == "髄膜腫"
    assert in_sentence("Pituitary tumor") == "pituitary tumor"
    assert in_sentence("DNET") == "DNET"


@pytest.mark.parametrize("length", [1, 40, 20_000])
def test_cutting_keeps_as_much_as_fits(length: int) -> None:
    """The result fits, and one more letter would not."""
    line = cut("x" * length, 200, 18)
    assert width(line, 18) <= 200
    if length > 40:
        assert width(line.replace("…", "x…"), 18) > 200


def test_scripts_on_one_line_share_their_baseline() -> None:
    """Latin beside Japanese: neither is higher than the other."""
    canvas = Canvas(200, 60)
    canvas.text((5, 5), "HH", size=30)
    alone = np.nonzero(canvas.pixels()[:, :60].max(axis=(1, 2)) > 100)[0]
    canvas = Canvas(200, 60)
    canvas.text((5, 5), "H山H", size=30)
    mixed = np.nonzero(canvas.pixels()[:, :24].max(axis=(1, 2)) > 100)[0]
    assert mixed.max() == alone.max()


def long_classes(count: int) -> tuple[tuple[ClassTerm, ...], tuple[ClassProbability, ...]]:
    names = [f"c{number}" for number in range(count)]
    titles = ["Diffuse midline glioma, H3 K27-altered " * 3, "髄膜腫", "ورم", *(f"Class {n}" for n in names)][:count]
    shares = np.linspace(1, 0.1, count) / np.linspace(1, 0.1, count).sum()
    terms = tuple(ClassTerm(name, title, GLIOMA, BRAIN) for name, title in zip(names, titles, strict=True))
    return terms, tuple(ClassProbability(name, float(p)) for name, p in zip(names, shares, strict=True))


@pytest.mark.parametrize("count", [1, 2, 4, 5, 12])
def test_any_classes_of_any_bundle_stay_in_their_place(count: int) -> None:
    """One class or twelve, long titles, other scripts: nothing leaves the page, nothing runs into the table below."""
    context = phantom_context(slices=12)
    terms, shares = long_classes(count)
    findings = replace(
        context.findings,
        model=replace(MODEL, terms=terms, title="T " * 200, manufacturer="M " * 50),
        predicted_class="c0",
        probabilities=shares,
        caveats=tuple(free_text(f"Caveat {n} " + "word " * 80) for n in range(5)),
    )
    pixels = summary_page(Story(context.volume, findings), pages=1).pixels
    assert pixels[:, 1002:].max() == 0
    assert pixels[:, :22].max() == 0
    assert pixels[789:795, 524:1000].max() == 0  # between the probabilities and the regions


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_single_absurd_values_do_not_decide_the_window(value: float) -> None:
    """Voxels that are not numbers or far off leave the picture as it was."""
    volume = build_volume(phantom.head_phantom(slices=12, matrix=64))
    array = volume.array.copy()
    array[5, :2, :2] = value
    for ds in volume.sources:
        del ds.WindowCenter, ds.WindowWidth
    spoiled = Volume(array, volume.affine, volume.sources)
    assert display_window(spoiled, 6) == pytest.approx(display_window(volume, 6), rel=0.05)
    nothing = np.zeros_like(array)
    findings = Findings(Outcome.NO_FINDING, "a", (ClassProbability("a", 1.0),), (), nothing, 5, MODEL)
    pixels = summary_page(Story(spoiled, findings), pages=1).pixels
    assert pixels[140:830, 30:720].std() > 30


@pytest.mark.parametrize(
    ("slices", "matrix"),
    [
        (400, 32),
        (3, 1024),
        (12, 64),
        pytest.param(4000, 32, marks=pytest.mark.nightly),
        pytest.param(3, 4096, marks=pytest.mark.nightly),
    ],
)
def test_many_slices_and_any_matrix_give_a_bounded_number_of_equal_pages(slices: int, matrix: int) -> None:
    """Many slices, large and small images: at most five pages of 1024², with the outline on each slice page."""
    array = np.full((slices, matrix, matrix), 300, np.uint16)
    array[:, matrix // 4 : -matrix // 4, matrix // 4 : -matrix // 4] = 900
    datasets = phantom.series_from_arrays(
        array, plane="axial", pixel_spacing=240 / matrix, slice_spacing=0.5, header=phantom.Header(key="many")
    )
    volume = build_volume(datasets)
    mask = np.zeros(volume.shape, bool)
    mask[slices // 3 : 2 * slices // 3 + 1, matrix // 3 : matrix // 2, matrix // 3 : matrix // 2] = True
    context = context_of(datasets, mask)
    pages = overlay.build(context)
    assert 2 <= len(pages) <= 5
    for item in pages:
        assert item.preview is not None
        assert item.preview.shape == (SIDE, SIDE, 3)
        assert (np.abs(item.preview[116:920].astype(int) - OUTLINE_RGB).max(axis=-1) < 40).any()
