"""Which radiographs a model takes, and which of them fills which channel."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import (
    MissingSeries,
    NotProjection,
    NotVolume,
    SeveralCandidates,
    UnsupportedModality,
    UnsupportedProtocol,
)
from pipeline.geometry.projection import projections_of
from pipeline.geometry.volume import Volume
from pipeline.phantom import head_phantom
from pipeline.phantom_projection import Film, chest_film, mammogram
from pipeline.reading.files import Series
from pipeline.reading.projection import facts_of
from pipeline.routing.preflight import preflight
from pipeline.routing.scope import Scope, check_scope
from pipeline.routing.views import ViewRule, check_orientation, fill
from tests.shapes import group

FOUR = [(side, view) for side in ("L", "R") for view in ("CC", "MLO")]
SCREENING = [ViewRule(f"{side}-{view}".lower(), (view,), (side,)) for side, view in FOUR]
CHEST = Scope(("DX", "CR"), body_parts=("CHEST",), views=("PA", "AP"), projection=True)
MAMMOGRAM = Scope(("MG",), views=("CC", "MLO"), projection=True)


def images(*datasets: Dataset) -> tuple[Volume, ...]:
    return projections_of(datasets)


def screening() -> list[Dataset]:
    return [mammogram(side, view, Film((48, 36), series=f"{side}{view}")) for side, view in FOUR]


def changed(ds: Dataset, **values: Any) -> Dataset:
    for keyword, value in values.items():
        if value is None:
            ds.pop(keyword, None)
        else:
            setattr(ds, keyword, value)
    return ds


def test_four_views_fill_their_channels_in_any_order() -> None:
    chosen = fill(SCREENING, images(*screening()[::-1]))
    assert list(chosen) == [rule.name for rule in SCREENING]
    for name, image in chosen.items():
        facts = facts_of(image.sources[0])
        assert f"{facts.laterality}-{facts.views[0]}".lower() == name


def test_a_missing_view_is_named() -> None:
    with pytest.raises(MissingSeries, match=r"no image for r-mlo \(ImageLaterality R, ViewPosition MLO\) among the 3"):
        fill(SCREENING, images(*screening()[:3]))


def test_two_images_for_one_channel_are_refused_and_named() -> None:
    second = mammogram("L", "CC", Film((48, 36), number=2, landmark=False))
    with pytest.raises(SeveralCandidates, match="2 images fit") as caught:
        fill(SCREENING, images(*screening(), second))
    assert second.SOPInstanceUID in caught.value.where
    assert "ImageLaterality L, ViewPosition CC" in caught.value.where


def test_a_copy_is_no_second_candidate() -> None:
    copy = mammogram("L", "CC", Film((48, 36), number=2))
    assert set(fill(SCREENING, images(copy, *screening()))) == {rule.name for rule in SCREENING}


def test_a_spot_compression_is_another_view() -> None:
    spot = mammogram("L", "CC", Film((48, 36), number=2, landmark=False))
    spot.ViewCodeSequence[0].ViewModifierCodeSequence = group(
        CodeValue="399055006", CodingSchemeDesignator="SCT", CodeMeaning="Spot Compression"
    )
    chosen = fill(SCREENING, images(*screening(), spot))
    assert chosen["l-cc"].sources[0].SOPInstanceUID != spot.SOPInstanceUID
    with pytest.raises(UnsupportedProtocol, match="ViewPosition CC, spot compression; the model takes ViewPosition CC"):
        check_scope(spot, MAMMOGRAM)


def test_one_image_does_not_fill_two_channels() -> None:
    rules = [ViewRule("frontal", ("PA", "AP")), ViewRule("any")]
    with pytest.raises(SeveralCandidates, match="One image fits both frontal and any"):
        fill(rules, images(chest_film(film=Film((45, 39)))))


def test_what_an_image_does_not_state_fits_no_rule() -> None:
    silent = changed(mammogram("L", "CC", Film((48, 36))), ImageLaterality=None)
    assert not SCREENING[0].fits(facts_of(silent))
    assert ViewRule("any").fits(facts_of(silent))
    assert not ViewRule("any side", ("CC",), ("L", "R")).fits(facts_of(silent))
    assert not ViewRule("cc", ("CC",)).fits(facts_of(changed(mammogram("L", "CC"), ViewPosition="MLO")))


def test_a_frontal_chest_is_within_its_scope() -> None:
    assert check_scope(chest_film("PA"), CHEST) == ()
    assert check_scope(chest_film("AP", Film(sop_class=uid.ComputedRadiographyImageStorage)), CHEST) == ()


def test_a_lateral_is_refused_by_a_model_of_frontal_films() -> None:
    with pytest.raises(
        UnsupportedProtocol, match=r"The image has ViewPosition LL; the model takes ViewPosition PA or AP"
    ):
        check_scope(chest_film("LL"), CHEST)


def test_two_views_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UnsupportedProtocol, match="ViewPosition LL and PA"):
        check_scope(changed(chest_film("PA"), ViewPosition="LL"), CHEST)


def test_an_absent_view_is_a_caveat_unless_a_channel_needs_it() -> None:
    silent = changed(chest_film("PA"), ViewPosition=None, ViewCodeSequence=None)
    assert check_scope(silent, CHEST) == (Caveat(CaveatCode.VIEW_POSITION_ABSENT),)
    scope = Scope(("DX",), projection=True, rules=(ViewRule("image", ("PA",)),))
    with pytest.raises(UnsupportedProtocol, match="ViewPosition absent; the model takes ViewPosition PA"):
        check_scope(silent, scope)


def test_an_image_must_fit_one_of_the_channels() -> None:
    scope = Scope(("MG",), projection=True, rules=tuple(SCREENING[:2]))
    assert check_scope(mammogram("L", "MLO"), scope) == ()
    with pytest.raises(
        UnsupportedProtocol, match="ImageLaterality R, ViewPosition MLO; the model takes ImageLaterality L"
    ):
        check_scope(mammogram("R", "MLO"), scope)


@pytest.mark.parametrize("made", [chest_film, lambda film: mammogram(film=film)])
def test_an_image_for_processing_needs_a_model_made_for_it(made: Any) -> None:
    sop_class = {
        chest_film: uid.DigitalXRayImageStorageForProcessing,
    }.get(made, uid.DigitalMammographyXRayImageStorageForProcessing)
    raw = made(film=Film(sop_class=sop_class))
    with pytest.raises(UnsupportedProtocol, match="FOR PROCESSING; the model takes images FOR PRESENTATION"):
        check_scope(raw, Scope(("DX", "MG"), projection=True))
    assert check_scope(raw, Scope(("DX", "MG"), projection=True, intents=("FOR PROCESSING",))) == ()
    with pytest.raises(UnsupportedProtocol, match="FOR PRESENTATION; the model takes images FOR PROCESSING"):
        check_scope(made(film=None), Scope(("DX", "MG"), projection=True, intents=("FOR PROCESSING",)))


def test_the_body_part_of_a_code_counts() -> None:
    ds = changed(mammogram(), BodyPartExamined=None)
    with pytest.raises(UnsupportedProtocol, match="BodyPartExamined is BREAST; the model takes CHEST"):
        check_scope(ds, Scope(("MG",), body_parts=("CHEST",), projection=True))
    assert check_scope(ds, Scope(("MG",), body_parts=("BREAST",), projection=True)) == ()
    del ds.AnatomicRegionSequence
    assert check_scope(ds, Scope(("MG",), body_parts=("BREAST",), projection=True)) == (
        Caveat(CaveatCode.BODY_PART_ABSENT),
    )


@pytest.mark.parametrize("orientation", [["L", "H"], ["H", "R"], ["F", "L"], ["R", "H"]])
def test_a_chest_whose_head_does_not_lie_at_the_top_is_refused(orientation: list[str]) -> None:
    ds = changed(chest_film("PA"), PatientOrientation=orientation)
    with pytest.raises(
        UnsupportedProtocol, match=rf"turned: by PatientOrientation {orientation[0]}\\{orientation[1]} the"
    ):
        check_scope(ds, CHEST)
    del ds.BodyPartExamined, ds.AnatomicRegionSequence
    with pytest.raises(UnsupportedProtocol, match="turned"):  # the model's body part says what is up
        check_scope(ds, CHEST)


def test_a_hand_may_have_its_fingers_up() -> None:
    ds = changed(chest_film("PA"), PatientOrientation=["L", "H"], BodyPartExamined="HAND")
    assert check_scope(ds, Scope(("DX",), projection=True)) == ()


def test_a_mirrored_chest_is_read_and_said() -> None:
    ds = changed(chest_film("PA"), PatientOrientation=["R", "F"])
    assert check_scope(ds, CHEST) == (Caveat(CaveatCode.IMAGE_MIRRORED),)
    assert check_orientation(facts_of(changed(ds, ViewPosition="LL", ViewCodeSequence=None)), (), "here") == ()


@pytest.mark.parametrize(("side", "view"), FOUR)
def test_mammograms_as_they_are_hung_have_no_caveat(side: Any, view: Any) -> None:
    assert check_scope(mammogram(side, view), MAMMOGRAM) == ()


def test_an_orientation_that_is_absent_says_nothing() -> None:
    assert check_scope(changed(chest_film("PA"), PatientOrientation=None), CHEST) == ()


def test_the_first_checks_admit_radiographs_only_to_models_of_projections() -> None:
    def takes(scope: Scope) -> Any:
        return lambda header: check_scope(header, scope)

    chest, head = Series((chest_film("PA"),)), Series(head_phantom(slices=3, matrix=16))
    assert preflight(chest, takes(CHEST), projections=True).header.PatientID == "CANDELA-PHANTOM"
    with pytest.raises(NotVolume, match=r"Digital X-Ray.*volumes of CT or MR slices"):
        preflight(chest, takes(Scope(("DX",))))
    with pytest.raises(UnsupportedModality):
        preflight(chest, takes(MAMMOGRAM), projections=True)
    with pytest.raises(NotProjection, match="a slice of a volume"):
        preflight(head, takes(Scope(("MR",), projection=True)), projections=True)


def test_a_series_with_a_lateral_first_is_no_reason_to_refuse_it() -> None:
    """The representative is the image with the lowest number; the model reads the other one."""
    series = Series((chest_film("LL", Film(number=1)), chest_film("PA", Film(number=2))))
    assert series.header.ViewPosition == "LL"
    preflight(series, lambda header: check_scope(header, CHEST), projections=True)
    with pytest.raises(UnsupportedProtocol):
        preflight(Series(series.datasets[:1]), lambda header: check_scope(header, CHEST), projections=True)
