"""The loop guard: every result is known again, whatever a PACS rewrote; nothing else is taken for one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydicom.dataset import Dataset

from pipeline import phantom
from pipeline.errors import IdentityInPixels, OutOfScope
from pipeline.export.deidentify import deidentify
from pipeline.findings.own_results import CREATOR_UID, is_own_result
from pipeline.results.build import build
from pipeline.results.profile import PRESETS, Profile
from pipeline.results.sc import refusal
from tests.conformance.synthetic import MODEL, context_of

LAST_TAG = 0x0020000E
"""Series Instance UID: the receiver reads no further."""
EVERYTHING = Profile(objects=(*Profile().objects, "heatmap"))


def results() -> Iterator[Dataset]:
    """Every kind of object, in every profile, of two organisations; and a page that says why nothing was read."""
    datasets = phantom.head_phantom(slices=6, matrix=32)
    mask = phantom.lesion_mask(datasets)
    profiles = {**PRESETS, "everything": EVERYTHING}
    for root in (None, "1.2.826.0.1.999"):
        for item in build(context_of(datasets, mask, root=root), profiles):
            yield item.dataset
    (page,) = refusal.build(datasets, OutOfScope("Not a head."), MODEL)
    yield page.dataset


@pytest.fixture(scope="module")
def made() -> tuple[Dataset, ...]:
    found = tuple(results())
    assert len({str(ds.SOPClassUID) for ds in found}) == 7  # SC, SEG, SR, PR, PM, PDF, KO
    return found


def head(ds: Dataset) -> Dataset:
    """A copy of what the receiver reads of ``ds``."""
    return Dataset({element.tag: copy.deepcopy(element) for element in ds if element.tag <= LAST_TAG})


def without_sequences(ds: Dataset) -> Dataset:
    return Dataset({element.tag: element for element in head(ds) if element.VR != "SQ"})


def replaced(**values: Any) -> Callable[[Dataset], Dataset]:
    def rewrite(ds: Dataset) -> Dataset:
        changed = head(ds)
        for keyword, value in values.items():
            setattr(changed, keyword, value)
        return changed

    return rewrite


def both(*steps: Callable[[Dataset], Dataset]) -> Callable[[Dataset], Dataset]:
    def rewrite(ds: Dataset) -> Dataset:
        for step in steps:
            ds = step(ds)
        return ds

    return rewrite


OTHER_EQUIPMENT = replaced(Manufacturer="Some PACS", ManufacturerModelName="Archive", DeviceSerialNumber="1")
NEW_UIDS = replaced(SOPInstanceUID="1.2.3", SeriesInstanceUID="1.2.4", StudyInstanceUID="1.2.5")
UNCREATED = replaced(InstanceCreatorUID=None)
"""As results of earlier versions are, or as an anonymiser leaves them."""
COERCIONS: dict[str, Callable[[Dataset], Dataset]] = {
    "nothing": lambda ds: ds,
    "another manufacturer": OTHER_EQUIPMENT,
    "no sequences": without_sequences,
    "another manufacturer, no sequences, other UIDs": both(OTHER_EQUIPMENT, without_sequences, NEW_UIDS),
    "another series description": both(OTHER_EQUIPMENT, replaced(SeriesDescription="Imported", SoftwareVersions="1")),
    "earlier version": UNCREATED,
    "earlier version, another manufacturer": both(UNCREATED, OTHER_EQUIPMENT),
    "earlier version, another manufacturer, no sequences": both(UNCREATED, OTHER_EQUIPMENT, without_sequences),
    "earlier version, no sequences, another description": both(
        UNCREATED, without_sequences, replaced(SeriesDescription="Imported")
    ),
    "earlier version, no sequences, no software version": both(
        UNCREATED, without_sequences, replaced(SoftwareVersions=None)
    ),
}


@pytest.mark.parametrize("coercion", COERCIONS)
def test_a_result_is_known_whatever_a_pacs_rewrote(made: tuple[Dataset, ...], coercion: str) -> None:
    """By what stands before Series Instance UID alone."""
    for ds in made:
        assert is_own_result(COERCIONS[coercion](head(ds))), ds.SOPClassUID.name


def test_a_deidentified_result_is_known(made: tuple[Dataset, ...]) -> None:
    """Its UIDs are replaced, but for the one that says that Candela made it."""
    source = phantom.head_phantom(slices=1, matrix=8)[0]
    clean = []
    for ds in made:
        try:
            clean.append(deidentify(ds, b"k" * 16, source=source))
        except IdentityInPixels:  # a document, or a page of text
            continue
    assert len(clean) > 5
    for ds in clean:
        assert is_own_result(ds)
        assert ds.InstanceCreatorUID == CREATOR_UID
        assert is_own_result(OTHER_EQUIPMENT(without_sequences(ds)))


def contributed(**values: Any) -> Dataset:
    """A scanner's image to which another piece of equipment contributed."""
    item, purpose = Dataset(), Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = "109102", "DCM", "Processing Equipment"
    item.PurposeOfReferenceCodeSequence = [purpose]
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return replaced(ContributingEquipmentSequence=[item])(phantom.head_phantom(slices=1, matrix=8)[0])


def test_what_others_made_is_not_ours() -> None:
    """A manufacturer called Candela, an archive that writes that name, another algorithm; odd values too."""
    scanner = phantom.head_phantom(slices=1, matrix=8)[0]
    others = {
        "a scanner": scanner,
        "by Candela": replaced(Manufacturer="Candela", ManufacturerModelName="GentleMax", SoftwareVersions="2.1")(
            scanner
        ),
        "of two versions": replaced(Manufacturer="CANDELA", SoftwareVersions=["A", "B"])(scanner),
        "no versions": replaced(Manufacturer="Candela", SoftwareVersions=[])(scanner),
        "a description": replaced(SeriesDescription="AI overlay for review, not for diagnosis")(scanner),
        "a build number": replaced(SoftwareVersions=["1.0", "0123456789abcdef"])(scanner),
        "another creator": replaced(InstanceCreatorUID="1.2.3.4")(scanner),
        "contributed by Acme": contributed(Manufacturer="Acme", SoftwareVersions=["1", "0123456789abcdef"]),
        "contributed by Candela": contributed(Manufacturer="Candela", SoftwareVersions="2.1"),
        "marks on two": replaced(Manufacturer="Candela")(contributed(SoftwareVersions=["1", "0123456789abcdef"])),
    }
    assert {what for what, ds in others.items() if is_own_result(ds)} == set()
    acquisition = contributed(Manufacturer="Candela", SoftwareVersions=["1", "0123456789abcdef"])
    assert is_own_result(acquisition)
    acquisition.ContributingEquipmentSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue = "109101"
    assert not is_own_result(acquisition)


def test_the_creators_uid_never_changes(made: tuple[Dataset, ...]) -> None:
    """Results of earlier versions would loop; the script for Orthanc has the same."""
    assert CREATOR_UID == "2.25.228291546579708553250654411495000395249"
    assert {ds.InstanceCreatorUID for ds in made} == {CREATOR_UID}
