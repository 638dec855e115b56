"""Radiographs as volumes of one slice: which image is read, what its pixels mean, and how large they are."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import BadPixels, NotProjection, NotVolume, Refused, SeveralCandidates, UnknownSpacing
from pipeline.geometry.build import build_volume
from pipeline.geometry.projection import build_projection, projections_of
from pipeline.geometry.volume import Volume
from pipeline.phantom import head_phantom
from pipeline.phantom_projection import Film, chest_film, mammogram, nodule_mask, nodule_of
from pipeline.reading.files import read_parts
from pipeline.routing.preflight import suits
from pipeline.routing.scope import Scope, check_scope
from tests.shapes import as_file, group, recoded

CR = uid.ComputedRadiographyImageStorage
AT_DETECTOR = Caveat(CaveatCode.LENGTHS_AT_DETECTOR)


def read(*datasets: Dataset, views: tuple[str, ...] = ()) -> Volume:
    """The image that a model reads of the series ``datasets``, from their files."""
    series = read_parts([(f"{k}.dcm", as_file(ds)) for k, ds in enumerate(datasets)], where="here")
    scope = Scope(("CR", "DX", "MG"), views=views, projection=True)
    return build_projection(series.datasets, prefer=lambda header: suits(lambda ds: check_scope(ds, scope), header))


def changed(ds: Dataset, **values: Any) -> Dataset:
    """A copy of ``ds`` with ``values``; None takes an attribute away."""
    made = copy.deepcopy(ds)
    for keyword, value in values.items():
        if value is None:
            made.pop(keyword, None)
        else:
            setattr(made, keyword, value)
    return made


@pytest.fixture(scope="module")
def film() -> Dataset:
    """A frontal chest, 45 rows and 39 columns, pixels not square."""
    return chest_film(film=Film(shape=(45, 39)))


MAKERS: dict[str, Callable[[Film], Dataset]] = {
    "DX": lambda film: chest_film("PA", film),
    "CR": lambda film: chest_film("AP", Film(film.shape, CR)),
    "MG": lambda film: mammogram("R", "MLO", film),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_radiograph_is_one_slice_with_the_spacing_of_its_detector(kind: str) -> None:
    ds = MAKERS[kind](Film(shape=(45, 39)))
    volume = read(ds)
    assert volume.projection
    assert volume.shape == (1, 45, 39)
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array[0], np.frombuffer(ds.PixelData, "<u2").reshape(45, 39))
    assert volume.spacing[1:] == pytest.approx(tuple(ds.ImagerPixelSpacing))
    assert volume.spacing[1] != pytest.approx(volume.spacing[2], rel=1e-3)
    assert volume.caveats == (AT_DETECTOR,)
    assert volume.frames == (None,)
    # A step along a row is a step in x, one down a column a step in y.
    np.testing.assert_allclose(volume.to_patient([0, 2, 3]), [3 * volume.spacing[2], 2 * volume.spacing[1], 0])


@pytest.mark.parametrize("kind", ["DX", "CR"])
def test_monochrome1_is_turned_so_that_large_is_bright(kind: str) -> None:
    made = MAKERS["DX"] if kind == "DX" else lambda film: chest_film("AP", film)
    sop_class = None if kind == "DX" else CR
    bright, dark = (made(Film((45, 39), sop_class, photometric)) for photometric in ("MONOCHROME2", "MONOCHROME1"))
    assert bright.PixelData != dark.PixelData
    volume = read(dark)
    np.testing.assert_array_equal(volume.array, read(bright).array)
    shown = volume.sources[0]
    assert (shown.PhotometricInterpretation, shown.PresentationLUTShape) == ("MONOCHROME2", "INVERSE")


@pytest.mark.parametrize("kind", ["OD", "LOG_E REL", "HU"])
def test_a_rescale_type_keeps_no_radiograph_dark(kind: str) -> None:
    """Values of CT with a unit keep their sense; a radiograph's follow the display."""
    dark = chest_film(film=Film((45, 39), photometric="MONOCHROME1"))
    volume = read(changed(dark, RescaleType=kind))
    np.testing.assert_array_equal(volume.array, read(chest_film(film=Film((45, 39)))).array)


@pytest.mark.parametrize(("photometric", "shape"), [("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "INVERSE")])
def test_a_presentation_lut_shape_that_contradicts_is_refused(photometric: Any, shape: str) -> None:
    ds = chest_film(film=Film((45, 39), photometric=photometric))
    with pytest.raises(BadPixels, match=f"{photometric}, and PresentationLUTShape is {shape}.*correct one"):
        read(changed(ds, PresentationLUTShape=shape))


def test_a_table_of_grey_is_not_applied_and_gives_a_window(film: Dataset) -> None:
    table = np.concatenate([np.zeros(1000), np.linspace(0, 255, 2001), np.full(1095, 255)]).astype("<u2")
    item = Dataset()
    item.LUTDescriptor = [len(table), 0, 16]
    item.add_new("LUTData", "OW", table.tobytes())
    volume = read(changed(film, VOILUTSequence=[item], WindowCenter=None, WindowWidth=None))
    np.testing.assert_array_equal(volume.array, read(film).array)
    window = volume.sources[0].WindowCenter, volume.sources[0].WindowWidth
    assert window == pytest.approx((2000, 2000), rel=0.05)
    own = read(changed(film, VOILUTSequence=[item]))
    assert (own.sources[0].WindowCenter, own.sources[0].WindowWidth) == (2048, 4096)


IMAGER = [0.2, 0.1]
SPACINGS: dict[str, tuple[dict[str, Any], tuple[float, float], Caveat]] = {
    "imager alone": ({}, (0.2, 0.1), AT_DETECTOR),
    "both alike": ({"PixelSpacing": [0.2, 0.1]}, (0.2, 0.1), AT_DETECTOR),
    "both alike, rounded": ({"PixelSpacing": [0.20001, 0.10001]}, (0.2, 0.1), AT_DETECTOR),
    "corrected in a way that is not said": ({"PixelSpacing": [0.16, 0.08]}, (0.2, 0.1), AT_DETECTOR),
    "calibrated": (
        {"PixelSpacing": [0.16, 0.08], "PixelSpacingCalibrationType": "FIDUCIAL"},
        (0.16, 0.08),
        Caveat(CaveatCode.LENGTHS_CALIBRATED, {"kind": "FIDUCIAL"}),
    ),
    "calibrated, no imager": (
        {"PixelSpacing": [0.16, 0.08], "PixelSpacingCalibrationType": "GEOMETRY", "ImagerPixelSpacing": None},
        (0.16, 0.08),
        Caveat(CaveatCode.LENGTHS_CALIBRATED, {"kind": "GEOMETRY"}),
    ),
    "magnified": (
        {"EstimatedRadiographicMagnificationFactor": "1.25"},
        (0.16, 0.08),
        Caveat(CaveatCode.LENGTHS_CORRECTED, {"factor": 1.25}),
    ),
    "magnified by nothing that is possible": (
        {"EstimatedRadiographicMagnificationFactor": "0"},
        (0.2, 0.1),
        AT_DETECTOR,
    ),
    "calibrated, and magnified": (
        {
            "PixelSpacing": [0.16, 0.08],
            "PixelSpacingCalibrationType": "GEOMETRY",
            "EstimatedRadiographicMagnificationFactor": "1.25",
        },
        (0.16, 0.08),
        Caveat(CaveatCode.LENGTHS_CALIBRATED, {"kind": "GEOMETRY"}),
    ),
}


@pytest.mark.parametrize("name", SPACINGS)
def test_of_what_plane_lengths_are_is_said(film: Dataset, name: str) -> None:
    values, spacing, caveat = SPACINGS[name]
    volume = read(changed(film, **{"ImagerPixelSpacing": IMAGER, **values}))
    assert volume.spacing[1:] == pytest.approx(spacing)
    assert volume.caveats == (caveat,)
    assert volume.caveats[0].values == caveat.values


NO_SPACING: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({"ImagerPixelSpacing": None}, r"states no ImagerPixelSpacing: the size .* not known\. \["),
    "empty": ({"ImagerPixelSpacing": ""}, "states no ImagerPixelSpacing"),
    "one value": ({"ImagerPixelSpacing": ["0.2"]}, "states no ImagerPixelSpacing"),
    "uncalibrated": ({"ImagerPixelSpacing": None, "PixelSpacing": [0.2, 0.1]}, "It has PixelSpacing, which does not"),
    "aspect ratio": ({"ImagerPixelSpacing": None, "PixelAspectRatio": [2, 1]}, "states no ImagerPixelSpacing"),
    "zero": ({"ImagerPixelSpacing": [0, 0.1]}, "ImagerPixelSpacing is 0 by 0.1 mm; both must be above zero"),
    "negative": ({"PixelSpacing": [0.2, -0.1]}, "PixelSpacing is 0.2 by -0.1 mm"),
    "another shape": ({"PixelSpacing": [0.1, 0.2]}, r"PixelSpacing \(0.1 by 0.2 mm\) contradicts ImagerPixelSpacing"),
    "larger than at the detector": ({"PixelSpacing": [0.4, 0.2]}, "contradicts ImagerPixelSpacing"),
    "ten times smaller": ({"PixelSpacing": [0.02, 0.01]}, "contradicts ImagerPixelSpacing"),
    "calibrated beyond belief": (
        {"PixelSpacing": [0.4, 0.2], "PixelSpacingCalibrationType": "FIDUCIAL"},
        "contradicts ImagerPixelSpacing",
    ),
}


@pytest.mark.parametrize("name", NO_SPACING)
def test_a_radiograph_without_a_spacing_is_refused(film: Dataset, name: str) -> None:
    values, match = NO_SPACING[name]
    with pytest.raises(UnknownSpacing, match=match) as caught:
        read(changed(film, **{"ImagerPixelSpacing": IMAGER, **values}))
    assert film.SOPInstanceUID in caught.value.where
    assert caught.value.todo


def test_of_two_views_the_one_that_the_model_takes_is_read() -> None:
    films = chest_film("LL", Film((45, 39), number=1)), chest_film("PA", Film((45, 39), number=2))
    for order in (films, films[::-1]):
        volume = read(*order, views=("PA", "AP"))
        assert volume.sources[0].ViewPosition == "PA"
        assert volume.caveats[1:] == (Caveat(CaveatCode.IMAGES_LEFT_OUT, {"count": 1, "read": "ViewPosition PA"}),)


def test_a_stated_view_is_preferred_to_an_absent_one() -> None:
    stated, silent = chest_film(film=Film((45, 39), number=2)), chest_film(film=Film((45, 39), number=1))
    silent = changed(silent, ViewPosition=None, ViewCodeSequence=None)
    assert read(silent, stated, views=("PA",)).sources[0].SOPInstanceUID == stated.SOPInstanceUID


def test_two_films_that_fit_are_refused_and_named() -> None:
    films = [chest_film(film=Film((45, 39), number=number, landmark=number == 1)) for number in (1, 2)]
    with pytest.raises(SeveralCandidates, match="2 images fit the model's input equally well") as caught:
        read(*films, views=("PA",))
    assert all(ds.SOPInstanceUID in caught.value.where for ds in films)
    assert "ViewPosition PA" in caught.value.where


@pytest.mark.parametrize(
    "values",
    [
        {"ImagerPixelSpacing": [0.3, 0.15]},
        {"PatientOrientation": ["L", "FA"]},
        {"ImageLaterality": "R"},
        {"ViewCodeSequence": None, "ViewPosition": "AP"},
    ],
)
def test_two_films_of_the_same_pixels_that_were_taken_otherwise_are_no_copies(values: dict[str, Any]) -> None:
    films = [chest_film(film=Film((45, 39), number=number)) for number in (1, 2)]
    with pytest.raises(SeveralCandidates):
        read(films[0], changed(films[1], **values))


def test_of_copies_the_first_is_read() -> None:
    films = [chest_film(film=Film((45, 39), number=number)) for number in (1, 2, 3)]
    volume = read(*films[::-1], views=("PA",))
    assert volume.sources[0].SOPInstanceUID == films[0].SOPInstanceUID
    assert [item.code for item in volume.caveats] == [
        CaveatCode.LENGTHS_AT_DETECTOR,
        CaveatCode.IMAGE_COPIES_LEFT_OUT,
    ]
    assert volume.caveats[1].values == {"count": 2}


def test_a_model_of_several_images_gets_each() -> None:
    films = [mammogram(side, view, Film((48, 36), number=4 - k)) for k, (side, view) in enumerate(FOUR)]
    volumes = projections_of(films)
    assert [volume.sources[0].InstanceNumber for volume in volumes] == [1, 2, 3, 4]
    assert all(volume.projection for volume in volumes)


FOUR = (("R", "CC"), ("L", "CC"), ("R", "MLO"), ("L", "MLO"))


def test_one_image_in_two_transfer_syntaxes_is_one_image(film: Dataset, tmp_path: Any) -> None:
    other = recoded(film, ["dcmcjpeg", "+e1"], tmp_path)
    other.ImageType = film.ImageType
    series = read_parts([("a.dcm", as_file(film)), ("b.dcm", as_file(other))], where="here")
    assert len(series.datasets) == 1


COLOUR = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
BAD: dict[str, tuple[dict[str, Any], type[Refused], str]] = {
    "colour": ({**COLOUR, "PixelData": b"\0\0" * 45 * 39 * 3}, BadPixels, "RGB"),
    "several frames": ({"NumberOfFrames": 2}, NotProjection, "of 2 frames: which one to read is not known.*one frame"),
    "more bits than there are": ({"BitsStored": 24, "HighBit": 23}, BadPixels, "24"),
    "bits between bytes": ({"BitsAllocated": 12}, BadPixels, "12 bits are allocated"),
    "high bit": ({"HighBit": 3}, BadPixels, "HighBit"),
    "more rows than pixels": ({"Rows": 46}, BadPixels, "bytes where the header claims"),
    "fewer columns than pixels": ({"Columns": 10}, BadPixels, "bytes where the header claims"),
    "a slope of nothing": ({"RescaleSlope": "0"}, BadPixels, "no image is left"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_grey_radiograph_is_refused(film: Dataset, name: str) -> None:
    values, kind, match = BAD[name]
    with pytest.raises(kind, match=match):
        read(changed(film, **values))


OTHER = {
    uid.BreastTomosynthesisImageStorage: "Breast Tomosynthesis.*does not read yet",
    uid.XRayAngiographicImageStorage: "Angiographic.*a projection of a kind that Candela does not read",
    uid.SecondaryCaptureImageStorage: "Secondary Capture.*made from images",
    uid.CTImageStorage: "CT Image.*a slice of a volume",
    uid.UltrasoundImageStorage: "Ultrasound.*moving",
}


@pytest.mark.parametrize("sop_class", OTHER)
def test_other_objects_are_refused_by_name(film: Dataset, sop_class: uid.UID) -> None:
    with pytest.raises(NotProjection, match=rf"{OTHER[sop_class]}.*reads radiographs: CR, DX or mammography"):
        build_projection([changed(film, SOPClassUID=sop_class)])


def test_slices_are_no_radiograph_and_a_radiograph_is_no_slice(film: Dataset) -> None:
    with pytest.raises(NotProjection, match="MR Image Storage: a slice of a volume"):
        build_projection(head_phantom(slices=3, matrix=16))
    with pytest.raises(NotVolume, match="a projection through the body"):
        build_volume([film])


def test_the_nodule_is_where_it_is_said_to_be() -> None:
    """Brighter than the same image without it, at its place and nowhere else; off the middle in both axes."""
    for made, view, side in (
        (lambda film: chest_film("PA", film), "PA", "L"),
        (lambda film: chest_film("LL", film), "LL", "L"),
        (lambda film: mammogram("R", "CC", film), "CC", "R"),
        (lambda film: mammogram("L", "MLO", film), "MLO", "L"),
    ):
        with_it, without = (made(Film((150, 131), landmark=there)) for there in (True, False))
        where = nodule_of(view, side)
        mask = nodule_mask(with_it, where)
        brighter = read(with_it).array[0].astype(float) / read(without).array[0].clip(1)
        assert brighter[mask].mean() > 1.05 * brighter[~mask].mean()
        assert min(abs(value) for value in where) > 15


def test_a_code_says_the_view_where_no_view_position_does() -> None:
    ds = mammogram("L", "MLO", Film((48, 36)))
    assert "ViewPosition" not in ds
    assert read(ds, views=("MLO",)).caveats == (AT_DETECTOR,)
    ds.ViewCodeSequence = group(CodeValue="R-10242", CodingSchemeDesignator="SRT", CodeMeaning="cranio-caudal")
    assert read(ds, views=("CC",)).caveats == (AT_DETECTOR,)
