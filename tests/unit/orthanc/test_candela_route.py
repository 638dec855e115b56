"""The parts of Orthanc's routing script that need no Orthanc."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from pydicom.dataset import Dataset

from orthanc.local import SCRIPT
from pipeline.findings.own_results import CREATOR_UID, is_own_result


@pytest.fixture(scope="module")
def route() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("candela_route", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_settings_are_read(route: ModuleType) -> None:
    """What the section sets is taken, the rest is the default."""
    settings = route.Settings.of({"Modalities": ["MR", "CT"], "FirstRetry": 2.5})
    assert settings == route.Settings(Modalities=("MR", "CT"), FirstRetry=2.5)
    assert settings.Target == "candela"


@pytest.mark.parametrize(
    "section", [{"Modality": ["MR"]}, {"Modalities": "MR"}, {"Target": 1}, {"SendsAtOnce": True}, {"FirstRetry": "5"}]
)
def test_a_typo_in_the_settings_is_an_error(route: ModuleType, section: dict[str, Any]) -> None:
    """A setting that does not exist, or of the wrong type, is named when Orthanc starts."""
    with pytest.raises(ValueError, match=f"CandelaRoute.{next(iter(section))}"):
        route.Settings.of(section)


def test_pauses_grow_to_their_limit(route: ModuleType) -> None:
    """Each failure doubles the pause, and no number of failures makes it longer than the limit."""
    settings = route.Settings(FirstRetry=5, LongestRetry=60)
    assert [settings.delay(tries) for tries in (1, 2, 3, 4, 5, 10_000)] == [5, 10, 20, 40, 60, 60]


EQUIPMENT = {
    "Manufacturer": "Candela",
    "SoftwareVersions": "0.4.0\\0123456789abcdef",
    "PurposeOfReferenceCodeSequence": [{"CodeValue": "109102", "CodingSchemeDesignator": "DCM"}],
}


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({}, False),
        ({"Manufacturer": "SIEMENS", "SeriesDescription": "t1_mprage"}, False),
        ({"InstanceCreatorUID": CREATOR_UID}, True),
        ({"InstanceCreatorUID": f"{CREATOR_UID}1"}, False),
        ({"Manufacturer": "candela "}, False),
        ({"Manufacturer": "candela ", "SoftwareVersions": "0.4.0\\0123456789abcdef"}, True),
        ({"Manufacturer": "Candela", "SoftwareVersions": "0123456789abcdef\\0.4.0"}, False),
        ({"ContributingEquipmentSequence": [{"Manufacturer": "Acme"}, {"Manufacturer": "Candela"}]}, False),
        ({"ContributingEquipmentSequence": [{"Manufacturer": "Acme"}, EQUIPMENT]}, True),
        ({"ContributingEquipmentSequence": [{**EQUIPMENT, "PurposeOfReferenceCodeSequence": []}]}, False),
        ({"ContributingEquipmentSequence": [{}]}, False),
        ({"SeriesDescription": "AI segmentation for review, not for diagnosis"}, False),
        ({"SeriesDescription": "AI segmentation for review, not for diagnosis", "Manufacturer": "Candela"}, True),
        ({"SeriesDescription": "AI coil test", "Manufacturer": "Candela"}, False),
        ({"SeriesDescription": "AIR recon for review, not for diagnosis", "Manufacturer": "Candela"}, False),
    ],
)
def test_own_results_are_known_by_their_data(route: ModuleType, tags: dict[str, Any], expected: bool) -> None:
    """The creator's UID, or two of three weaker marks: the same rule as in the node."""
    assert route.is_result(tags) is expected
    assert is_own_result(dataset_of(tags)) is expected


def dataset_of(tags: dict[str, Any]) -> Dataset:
    """Orthanc's simplified form as a data set."""
    ds = Dataset()
    for keyword, value in tags.items():
        if isinstance(value, list):
            setattr(ds, keyword, [dataset_of(item) for item in value])
        else:
            setattr(ds, keyword, value.split("\\") if "\\" in value else value)
    return ds


def test_a_set_of_instances_has_one_fingerprint(route: ModuleType) -> None:
    """The order in which Orthanc lists instances does not matter; another instance does."""
    assert route.digest_of(["a", "b"]) == route.digest_of(["b", "a"]) != route.digest_of(["a", "b", "c"])
