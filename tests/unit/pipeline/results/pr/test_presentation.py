"""The presentation state draws what was found where it was found, on the original images, in their own grey."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from skimage.measure import grid_points_in_poly

from pipeline import phantom
from pipeline.caveats import Caveat, CaveatCode
from pipeline.findings.model import BoolArray, Outcome
from pipeline.report.sentences import Language
from pipeline.results.drawing.picture import display_window
from pipeline.results.pr import presentation
from pipeline.results.profile import Profile
from pipeline.results.provenance import ResultContext
from tests.conformance.synthetic import context_of, file_bytes, phantom_context, with_own_headers
from tests.shapes import with_pixels
from tests.unit.pipeline.results.seg.test_segmentation import awkward_masks
from tests.unit.pipeline.results.test_source_images import LAYOUTS, with_frames


def state_of(context: ResultContext) -> Dataset:
    """The presentation state as a reader gets it from the file."""
    (item,) = presentation.build(context)
    return pydicom.dcmread(pydicom.filebase.DicomBytesIO(file_bytes(item.dataset)))


def graphics(state: Dataset, layer: str, uid: str, frame: int | None = None) -> list[Dataset]:
    """The graphic and text objects of ``layer`` on one image."""
    found = []
    for annotation in state.GraphicAnnotationSequence:
        if annotation.GraphicLayer == layer and any(
            item.ReferencedSOPInstanceUID == uid and item.get("ReferencedFrameNumber") in (None, frame)
            for item in annotation.ReferencedImageSequence
        ):
            found += [*annotation.get("GraphicObjectSequence", ()), *annotation.get("TextObjectSequence", ())]
    return found


def filled(drawn: Sequence[Dataset], shape: tuple[int, int]) -> BoolArray:
    """The pixels whose centre lies within an odd number of the closed polylines: what an eye sees as inside.

    The first pixel's centre is at column 0.5 and row 0.5 (PS3.3 C.10.5.1.2).
    """
    inside = np.zeros(shape, bool)
    for item in drawn:
        points = np.array(item.GraphicData).reshape(-1, 2)
        assert item.NumberOfGraphicPoints == len(points)
        assert np.array_equal(points[0], points[-1])
        inside ^= grid_points_in_poly(shape, points[:, ::-1] - 0.5)
    return inside


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_the_outline_encloses_the_lesion_on_each_of_its_images(plane: phantom.Plane) -> None:
    """Filled, the polylines give the mask back, pixel for pixel, on every image and on no other."""
    context = phantom_context(plane)
    (lesion,) = context.findings.regions
    state = state_of(context)
    for k, source in enumerate(context.volume.sources):
        drawn = graphics(state, "AI_OUTLINE", source.SOPInstanceUID)
        assert np.array_equal(filled(drawn, context.volume.shape[1:]), lesion.mask[k])
        assert all(item.TrackingUID == lesion.tracking_uid for item in drawn)
        assert bool(drawn) == bool(lesion.mask[k].any())


@pytest.mark.parametrize("name", awkward_masks())
def test_awkward_masks_are_outlined(name: str) -> None:
    """One voxel, the first and the last slice, the image's border, forty lesions."""
    context = context_of(phantom.head_phantom(slices=12, matrix=64), awkward_masks()[name])
    state = state_of(context)
    for lesion in context.findings.regions:
        for k in lesion.slices:
            drawn = graphics(state, "AI_OUTLINE", context.volume.sources[k].SOPInstanceUID)
            mine = [item for item in drawn if item.TrackingUID == lesion.tracking_uid]
            assert np.array_equal(filled(mine, (64, 64)), lesion.mask[k])
            for item in mine:
                points = np.array(item.GraphicData)
                assert points.min() >= 0
                assert points.max() <= 64


def test_an_outline_of_many_corners_is_drawn_in_pieces() -> None:
    """A comb of 2,200 teeth has more corners than one element holds; the pieces join and lose none."""
    datasets = phantom.head_phantom(slices=3, matrix=8)
    wide = [with_pixels(ds, np.tile(ds.pixel_array, (1, 550)), PixelSpacing=[0.05, 0.05]) for ds in datasets]
    mask = np.zeros((3, 8, 4400), bool)
    mask[1, 2] = True
    mask[1, 3:6, ::2] = True
    state = state_of(context_of(wide, mask))
    drawn = graphics(state, "AI_OUTLINE", wide[1].SOPInstanceUID)
    assert len(drawn) > 1
    assert all(item.NumberOfGraphicPoints <= 8000 for item in drawn)
    ends = [np.array(item.GraphicData).reshape(-1, 2)[[0, -1]] for item in drawn]
    assert all(np.array_equal(one[1], other[0]) for one, other in zip(ends, [*ends[1:], ends[0]], strict=True))


def test_the_label_says_what_it_is_and_the_diameters_are_drawn_on_their_image() -> None:
    """Class and volume on every image, the axes where the lesion is longest; nowhere is it said without "AI"."""
    context = phantom_context()
    (lesion,) = context.findings.regions
    state = state_of(context)
    key = context.volume.sources[lesion.long_axis.slice_index].SOPInstanceUID
    texts = [item.UnformattedTextValue for item in graphics(state, "AI_LABEL", key)]
    assert texts[0].startswith("AI result, not verified, not for diagnosis")
    assert texts[1].splitlines() == [
        "Lesion 1 (AI): Glioma suggested",
        f"{lesion.long_axis.length_mm:.1f} x {lesion.short_axis.length_mm:.1f} mm, 11.4 mL",
    ]
    long_axis, short_axis = graphics(state, "AI_DIAMETER", key)
    for drawn, axis in ((long_axis, lesion.long_axis), (short_axis, lesion.short_axis)):
        points = np.array(drawn.GraphicData).reshape(2, 2)
        assert np.allclose(points[:, ::-1] - 0.5, [axis.start, axis.end], atol=1e-4)
        ends = context.volume.to_patient([(axis.slice_index, *point) for point in points[:, ::-1] - 0.5])
        assert np.linalg.norm(ends[0] - ends[1]) == pytest.approx(axis.length_mm, abs=1e-3)
    for k, source in enumerate(context.volume.sources):
        notice = graphics(state, "AI_LABEL", source.SOPInstanceUID)[0].UnformattedTextValue
        assert "not for diagnosis" in notice
        for text in graphics(state, "AI_LABEL", source.SOPInstanceUID)[1:]:
            assert text.UnformattedTextValue.splitlines()[0] == "Lesion 1 (AI): Glioma suggested"
            assert text.UnformattedTextValue.endswith("11.4 mL")
        assert bool(graphics(state, "AI_DIAMETER", source.SOPInstanceUID)) == (k == lesion.long_axis.slice_index)


def labels_in(context: ResultContext, language: Language, character_set: str | list[str] | None) -> tuple[str, str]:
    """The notice and the lesion's label on its key image, as a reader decodes them from the file."""
    context = with_own_headers(context)
    if character_set is None:
        del context.volume.identity.SpecificCharacterSet
    else:
        context.volume.identity.SpecificCharacterSet = character_set
    context = replace(context, profile=Profile(language=language))
    key = context.volume.sources[context.findings.regions[0].measured_slice].SOPInstanceUID
    notice, label = graphics(state_of(context), "AI_LABEL", key)
    return notice.UnformattedTextValue, label.UnformattedTextValue


@pytest.mark.parametrize(
    ("character_set", "size"),
    [
        ("ISO_IR 192", "29,3 x 26,6 mm, 11,4 mL"),
        ("ISO_IR 100", "29,3 x 26,6 mm, 11,4 mL"),
        ("ISO_IR 144", "29,3 x 26,6 mm, 11,4 mL"),
        (["", "ISO 2022 IR 87"], "29,3 x 26,6 mm, 11,4 mL"),
        (None, "29,3 x 26,6 mm, 11,4 mL"),
    ],
)
def test_labels_are_in_the_profiles_language_and_the_sources_character_set(
    character_set: str | list[str] | None, size: str
) -> None:
    """With their accents where the set has them, in plain letters where it has not; never with a question mark."""
    notice, label = labels_in(phantom_context(slices=16), Language.FRENCH, character_set)
    accents = character_set in ("ISO_IR 192", "ISO_IR 100")
    assert notice.startswith("Résultat d'IA, non vérifié" if accents else "Resultat d'IA, non verifie")
    name, measured = label.splitlines()
    assert (name[-6:], measured) == ("Gliome", size)


def test_a_label_says_no_more_than_the_report() -> None:
    """Of an uncertain kind, what is suspected; of a lesion that is less probable than none, no class."""
    context = phantom_context()
    doubted = replace(context.findings, caveats=(Caveat(CaveatCode.LESION_KIND_UNCERTAIN),))
    uncertain = replace(context, findings=doubted)
    withheld = replace(context, findings=replace(context.findings, outcome=Outcome.INDETERMINATE))
    _, suspected = labels_in(uncertain, Language.ENGLISH, "ISO_IR 192")
    assert suspected.splitlines()[0] == "Lesion 1 (AI): Suspected: Neoplasm"
    _, without = labels_in(withheld, Language.ENGLISH, "ISO_IR 192")
    assert without.splitlines()[0] == "Lesion 1 (AI)"


def test_labels_stay_on_the_image() -> None:
    """Also for a lesion in the last corner."""
    mask = np.zeros((12, 64, 64), bool)
    mask[5, 60:, 60:] = True
    context = context_of(phantom.head_phantom(slices=12, matrix=64), mask)
    label = graphics(state_of(context), "AI_LABEL", context.volume.sources[5].SOPInstanceUID)[1]
    (left, top), (right, bottom) = label.BoundingBoxTopLeftHandCorner, label.BoundingBoxBottomRightHandCorner
    assert 0 <= left < right <= 64
    assert 0 <= top < bottom <= 64


def test_oblong_pixels_are_shown_in_their_true_proportion() -> None:
    """The displayed area has the source's spacing, not square pixels."""
    datasets = phantom.head_phantom(slices=12, matrix=64)
    for ds in datasets:
        ds.PixelSpacing = [3.75, 1.25]
    mask = np.zeros((12, 64, 64), bool)
    mask[5, 20:30, 20:30] = True
    (area,) = state_of(context_of(datasets, mask)).DisplayedAreaSelectionSequence
    assert list(area.PresentationPixelSpacing) == [3.75, 1.25]
    assert "PresentationPixelAspectRatio" not in area


@pytest.mark.parametrize("outcome", [Outcome.NO_FINDING, Outcome.INDETERMINATE])
def test_nothing_outlined_is_no_presentation_state(outcome: Outcome) -> None:
    """A presentation of nothing would hide the reader's own window for no gain."""
    assert presentation.build(phantom_context(outcome=outcome, slices=12)) == ()


@pytest.mark.parametrize("name", LAYOUTS)
def test_frames_are_named(name: str) -> None:
    """Each frame of a multi-frame source has its own outline; no stand-in is left."""
    places, totals = LAYOUTS[name]
    context = with_frames(places, totals)
    (lesion,) = context.findings.regions
    state = state_of(context)
    for k, (uid, frame) in enumerate(places):
        drawn = graphics(state, "AI_OUTLINE", uid, frame)
        assert np.array_equal(filled(drawn, (64, 64)), lesion.mask[k])
    referenced = {
        item.ReferencedSOPInstanceUID
        for series in state.ReferencedSeriesSequence
        for item in series.ReferencedImageSequence
    }
    assert referenced == {uid for uid, _ in places}


def rescaled(datasets: Sequence[Dataset], slopes: Sequence[float], intercept: float) -> list[Dataset]:
    """``datasets`` whose stored values mean the same signal under other slopes."""
    made = []
    for ds, slope in zip(datasets, slopes, strict=True):
        stored = np.round((ds.pixel_array.astype(float) - intercept) / slope).clip(0, 65535).astype(np.uint16)
        made.append(with_pixels(ds, stored, RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="US"))
    return made


def monochrome1(datasets: Sequence[Dataset]) -> list[Dataset]:
    """``datasets`` stored so that great is black."""
    return [
        with_pixels(
            ds,
            (4095 - ds.pixel_array).astype(np.uint16),
            PhotometricInterpretation="MONOCHROME1",
            BitsStored=12,
            HighBit=11,
        )
        for ds in datasets
    ]


def with_table(datasets: Sequence[Dataset]) -> list[Dataset]:
    """``datasets`` stored backwards, with a Modality LUT that turns them round."""
    made = []
    for ds in datasets:
        item = Dataset()
        item.LUTDescriptor, item.ModalityLUTType = [4096, 0, 16], "US"
        item.LUTData = np.arange(4095, -1, -1, dtype=np.uint16).tobytes()
        item["LUTData"].VR = "OW"
        made.append(with_pixels(ds, (4095 - ds.pixel_array).astype(np.uint16), ModalityLUTSequence=[item]))
    return made


PLAIN = phantom.head_phantom(slices=12, matrix=64)
GREYS = {
    "plain": PLAIN,
    "one slope": rescaled(PLAIN, [0.5] * 12, -20),
    "a slope for each image": rescaled(PLAIN, [0.5 + 0.05 * k for k in range(12)], -20),
    "fractions": rescaled(PLAIN, [1] * 12, 0),
    "MONOCHROME1": monochrome1(PLAIN),
    "Modality LUT": with_table(PLAIN),
}
for _ds in GREYS["fractions"]:
    _ds.RescaleSlope, _ds.WindowCenter, _ds.WindowWidth = 0.001, 0.6, 1.2


@pytest.mark.parametrize("name", GREYS)
def test_dcmtk_shows_the_grey_that_the_overlay_shows(name: str, tmp_path: Path) -> None:
    """dcmtk renders original and presentation state together: the window of the overlay, whatever the pixels mean."""
    if shutil.which("dcmp2pgm") is None:
        pytest.skip("dcmp2pgm is not installed (Debian package dcmtk)")
    datasets = GREYS[name]
    context = context_of(datasets, phantom.lesion_mask(PLAIN))
    state, image, picture = (tmp_path / file for file in ("state.dcm", "image.dcm", "picture.pgm"))
    state.write_bytes(file_bytes(state_of(context)))
    black, white = display_window(context.volume, context.findings.key_slice)
    for k in (2, 7):
        image.write_bytes(file_bytes(datasets[k]))
        subprocess.run(["dcmp2pgm", str(image), str(picture), "--pstate", str(state)], check=True, capture_output=True)
        shown = np.asarray(Image.open(picture)).astype(float)
        wanted = np.clip((context.volume.array[k] - black) / (white - black), 0, 1) * 255
        assert np.abs(shown - wanted).max() <= 3
        assert shown.std() > 20


def test_dcmtk_checks_the_presentation_state(tmp_path: Path) -> None:
    """dcmpschk knows the IOD attribute by attribute."""
    if shutil.which("dcmpschk") is None:
        pytest.skip("dcmpschk is not installed (Debian package dcmtk)")
    path = tmp_path / "state.dcm"
    path.write_bytes(file_bytes(state_of(phantom_context(slices=12))))
    done = subprocess.run(["dcmpschk", str(path)], capture_output=True, text=True, check=False)
    assert "Test passed" in done.stderr + done.stdout
