"""The parts of Orthanc's routing script that need no Orthanc."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from orthanc.local import SCRIPT


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


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({}, False),
        ({"Manufacturer": "SIEMENS", "SeriesDescription": "t1_mprage"}, False),
        ({"Manufacturer": "candela "}, True),
        ({"ContributingEquipmentSequence": [{"Manufacturer": "Acme"}, {"Manufacturer": "Candela"}]}, True),
        ({"ContributingEquipmentSequence": [{}]}, False),
        ({"SeriesDescription": "AI segmentation, for review"}, True),
        ({"SeriesDescription": "AI coil test"}, False),
        ({"SeriesDescription": "AIR recon for review"}, False),
    ],
)
def test_own_results_are_known_by_their_data(route: ModuleType, tags: dict[str, Any], expected: bool) -> None:
    """Maker, contributing equipment or description tell a result of Candela from a scanner's series."""
    assert route.is_result(tags) is expected


def test_a_set_of_instances_has_one_fingerprint(route: ModuleType) -> None:
    """The order in which Orthanc lists instances does not matter; another instance does."""
    assert route.digest_of(["a", "b"]) == route.digest_of(["b", "a"]) != route.digest_of(["a", "b", "c"])
