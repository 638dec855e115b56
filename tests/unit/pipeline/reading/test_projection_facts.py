"""What a radiograph's header states of its view."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from pipeline.phantom_projection import chest_film, mammogram
from pipeline.reading.projection import MODIFIERS, VIEWS, ProjectionFacts, facts_of
from tests.shapes import group

ABBREVIATED = {
    "CranioCaudal": "CC",
    "MedioLateralObliqueProjection": "MLO",
    "MedioLateralProjection": "ML",
    "LateroMedial": "LM",
    "LateroMedialOblique": "LMO",
    "CaudoCranial": "FB",
    "TissueSpecimenFromBreast": "SPECIMEN",
    "SuperolateralToInferomedialOblique": "SIO",
    "InferomedialToSuperolateralOblique": "ISO",
    "CranioCaudalExaggeratedLaterally": "XCCL",
    "CranioCaudalExaggeratedMedially": "XCCM",
}
OF_THE_CHEST = {
    "AnteroPosterior": "AP",
    "PosteroAnterior": "PA",
    "LeftLateral": "LL",
    "RightLateral": "RL",
    "LateralProjection": "LATERAL",
    "Frontal": "FRONTAL",
}


def test_each_code_of_mammography_has_its_view() -> None:
    """pydicom knows the context group, and which SNOMED RT code is which of SNOMED CT."""
    assert set(codes.cid4014.dir()) == set(ABBREVIATED)
    for name, view in ABBREVIATED.items():
        assert VIEWS[getattr(codes.cid4014, name).value] == view
    for name, view in OF_THE_CHEST.items():
        assert VIEWS[getattr(codes.cid4010, name).value] == view


def test_a_retired_code_says_what_the_present_one_does() -> None:
    present = [getattr(codes.cid4014, name) for name in ABBREVIATED] + [
        getattr(codes.cid4010, name) for name in OF_THE_CHEST
    ]
    for value, view in VIEWS.items():
        if not value.isdigit() and value != "R-10214":  # an edition of CID 4010 had this one, and pydicom's table not
            (same,) = {one.value for one in present if one == Code(value, "SRT", "")}
            assert VIEWS[same] == view


def test_each_modifier_of_mammography_is_known() -> None:
    for name in codes.cid4015.dir():
        assert MODIFIERS[getattr(codes.cid4015, name).value].replace(" ", "").replace("-", "") == name.lower()


def test_a_header_that_states_nothing_gives_nothing() -> None:
    assert facts_of(Dataset()) == ProjectionFacts()


def test_a_chest_and_a_breast_state_how_they_were_taken() -> None:
    chest, breast = facts_of(chest_film("LL")), facts_of(mammogram("R", "MLO"))
    assert (chest.views, chest.laterality, chest.orientation) == (("LL",), "U", ("P", "F"))
    assert (breast.views, breast.laterality, breast.orientation) == (("MLO",), "R", ("P", "FL"))
    assert (chest.body_part, breast.body_part, breast.intent) == ("CHEST", "BREAST", "FOR PRESENTATION")


def header(**values: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def view(value: str) -> list[Dataset]:
    return group(CodeValue=value, CodingSchemeDesignator="SCT", CodeMeaning="x")


@pytest.mark.parametrize(
    ("values", "views"),
    [
        ({"ViewPosition": "cc "}, ("CC",)),
        ({"ViewPosition": "CC", "ViewCodeSequence": view("399162004")}, ("CC",)),
        ({"ViewPosition": "CC", "ViewCodeSequence": view("399368009")}, ("CC", "MLO")),
        ({"ViewPosition": "LL", "ViewCodeSequence": view("399067008")}, ("LL",)),
        ({"ViewCodeSequence": view("399067008")}, ("LATERAL",)),
        ({"ViewCodeSequence": view("1234")}, ()),
    ],
)
def test_view_position_and_code_are_one_statement(values: dict[str, Any], views: tuple[str, ...]) -> None:
    assert facts_of(header(**values)).views == views


def test_a_modifier_has_its_name_and_no_free_text() -> None:
    coded = view("399162004")
    coded[0].ViewModifierCodeSequence = [*view("R-102D6"), *view("77")]
    assert facts_of(header(ViewCodeSequence=coded)).modifiers == ("magnification", "another view modifier")


def test_a_picture_made_from_tomosynthesis_is_no_plain_view() -> None:
    ds = mammogram("L", "CC")
    ds.ImageType = ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "GENERATED_2D"]
    assert facts_of(ds).modifiers == ("generated from tomosynthesis",)


def test_side_and_body_part_are_found_where_they_are_stated() -> None:
    region = group(CodeValue="76752008", CodingSchemeDesignator="SCT", CodeMeaning="Breast")
    assert facts_of(header(Laterality="R")).laterality == "R"
    assert facts_of(header(Laterality="R", ImageLaterality="L")).laterality == "L"
    assert facts_of(header(AnatomicRegionSequence=region)).body_part == "BREAST"
    assert facts_of(header(AnatomicRegionSequence=region, BodyPartExamined="CHEST")).body_part == "CHEST"


def test_the_class_says_whether_an_image_is_for_presentation() -> None:
    processing = uid.DigitalMammographyXRayImageStorageForProcessing
    assert (
        facts_of(header(SOPClassUID=processing, PresentationIntentType="FOR PRESENTATION")).intent == "FOR PROCESSING"
    )
    assert facts_of(header(SOPClassUID=uid.ComputedRadiographyImageStorage)).intent == ""


@pytest.mark.parametrize(("stated", "read"), [("1.8", 1.8), ("1", 1.0), ("0", None), ("0.5", None), ("50", None)])
def test_a_magnification_that_cannot_be_counts_as_absent(stated: str, read: float | None) -> None:
    assert facts_of(header(EstimatedRadiographicMagnificationFactor=stated)).magnification == read
