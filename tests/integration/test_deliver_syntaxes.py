"""Compressed results at a PACS that does not take them: decoded, and the same objects with the same pixels."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AllStoragePresentationContexts

from dicom_node.deliver import negotiation
from dicom_node.deliver.dimse import DimseSender
from dicom_node.deliver.negotiation import CONTEXTS_MOST, batches, instance_of, proposals
from dicom_node.settings.destinations import DicomDestination
from dicom_node.settings.peers import DicomPeer
from pipeline.errors import Rejected
from pipeline.results.build import build
from pipeline.results.profile import PRESETS, Profile
from tests.conformance.synthetic import phantom_context
from tests.peers.dcmtk import require_dcmtk, running_storescp
from tests.peers.engine_worker import capture
from tests.peers.pacs import Pacs

PROFILES = {
    **PRESETS,
    "jpegls": Profile(
        objects=("overlay", "segmentation"), transfer_syntax="JPEGLSLossless", segmentation_type="FRACTIONAL"
    ),
    "jpeg2000": Profile(
        objects=("overlay", "segmentation"), transfer_syntax="JPEG2000Lossless", segmentation_type="FRACTIONAL"
    ),
    "implicit": Profile(objects=("overlay", "heatmap"), transfer_syntax="ImplicitVRLittleEndian"),
}
LABELMAP = Profile(objects=("segmentation",), transfer_syntax="RLELossless", segmentation_type="LABELMAP")
"""Of 2024: Debian's dcmtk does not know its SOP class."""
ENCODING = {"PixelData", "PlanarConfiguration", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"}
"""Elements that a transfer syntax decides."""


def sender(port: int) -> DimseSender:
    peer = DicomPeer(ae_title="PACS", host="127.0.0.1", port=port)
    return DimseSender(DicomDestination(kind="dicom", peer=peer, timeout=20), "CANDELA")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, ...]]:
    """The files of each profile for one finding, as the node writes them."""
    folder = tmp_path_factory.mktemp("results")
    files: dict[str, list[Path]] = defaultdict(list)
    for item in build(phantom_context(slices=6, matrix=48), {**PROFILES, "labelmap": LABELMAP}):
        path = folder / item.filename
        item.dataset.save_as(path, enforce_file_format=True)
        for profile in item.profiles:
            files[profile].append(path)
    return {name: tuple(paths) for name, paths in files.items()}


def assert_same(received: Dataset, sent: Dataset) -> None:
    """One object in two transfer syntaxes."""
    assert received.SOPInstanceUID == sent.SOPInstanceUID
    assert "PixelData" not in sent or np.array_equal(received.pixel_array, sent.pixel_array)
    header = [
        {element.tag: element.value for element in ds if element.keyword not in ENCODING} for ds in (received, sent)
    ]
    assert header[0] == header[1]


@pytest.mark.parametrize("profile", PROFILES)
def test_dcmtk_with_its_default_settings_takes_every_profile(
    results: dict[str, tuple[Path, ...]], tmp_path: Path, profile: str
) -> None:
    """storescp takes uncompressed transfer syntaxes only, unless it is told otherwise."""
    require_dcmtk()
    files = results[profile]
    with running_storescp(tmp_path / "in", ae_title="PACS") as port:
        assert sender(port).send(files) == f"{len(files)} instances stored, 0x0000"
    sent = {str(ds.SOPInstanceUID): ds for ds in map(dcmread, files)}
    received = [dcmread(path) for path in (tmp_path / "in").iterdir()]
    assert {str(ds.SOPInstanceUID) for ds in received} == set(sent)
    for ds in received:
        assert not ds.file_meta.TransferSyntaxUID.is_encapsulated
        assert_same(ds, sent[str(ds.SOPInstanceUID)])


def test_the_profiles_have_compressed_results_of_each_kind(results: dict[str, tuple[Path, ...]]) -> None:
    """Otherwise the test before this one would show nothing."""
    found = {
        (dcmread(path).Modality, instance_of(path).transfer_syntax) for paths in results.values() for path in paths
    }
    assert {("OT", RLELossless), ("OT", JPEGLSLossless), ("OT", JPEG2000Lossless)} <= found
    assert {("SEG", RLELossless), ("SEG", JPEGLSLossless), ("SEG", JPEG2000Lossless)} <= found


@pytest.mark.parametrize("profile", ["archive", "jpegls", "jpeg2000", "labelmap"])
def test_a_pacs_gets_it_compressed_where_it_takes_that_and_decoded_where_not(
    results: dict[str, tuple[Path, ...]], profile: str
) -> None:
    """Unchanged by a PACS that takes the compressed form, although it takes the others too."""
    file, *_ = (path for path in results[profile] if instance_of(path).transfer_syntax.is_encapsulated)
    sent = dcmread(file)
    syntax, classes = sent.file_meta.TransferSyntaxUID, [sent.SOPClassUID]
    with Pacs(sop_classes=classes, transfer_syntaxes=[ImplicitVRLittleEndian]) as pacs:
        assert sender(pacs.port).send((file,)) == "1 instance stored, 0x0000"
    (event,) = pacs.received
    assert event.context.transfer_syntax == ImplicitVRLittleEndian
    received = event.dataset
    received.file_meta = event.file_meta
    assert_same(received, sent)
    with Pacs(sop_classes=classes, transfer_syntaxes=[ExplicitVRLittleEndian, ImplicitVRLittleEndian, syntax]) as pacs:
        sender(pacs.port).send((file,))
    assert pacs.received[0].context.transfer_syntax == syntax
    assert pacs.received[0].dataset.PixelData == sent.PixelData


def test_where_no_transfer_syntax_fits_the_message_names_it(tmp_path: Path) -> None:
    """Not the SOP class, which the PACS takes; whether another object of that class went through or not."""
    path = capture(tmp_path / "1.dcm", sop_instance_uid="1.2.3.1", series_instance_uid="1.2.3")
    lossy = capture(tmp_path / "2.dcm", sop_instance_uid="1.2.3.2", series_instance_uid="1.2.3")
    ds = dcmread(lossy)
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.PixelData = encapsulate([b"never looked at "])
    ds.save_as(lossy)
    with Pacs(transfer_syntaxes=[JPEG2000Lossless]) as pacs, pytest.raises(Rejected) as alone:
        sender(pacs.port).send((path,))
    assert (
        "no transfer syntax offered for Secondary Capture Image Storage was accepted"
        " (Explicit VR Little Endian, Implicit VR Little Endian)"
    ) in str(alone.value)
    assert "SOP class" not in str(alone.value)
    with Pacs() as pacs, pytest.raises(Rejected, match=r"1 of 2 instances: no transfer syntax .*\(JPEG Baseline"):
        sender(pacs.port).send((lossy, path))
    assert pacs.stored == {"1.2.3.1": 1}


def test_damaged_pixel_data_keep_no_other_instance_back(tmp_path: Path) -> None:
    """What cannot be decoded is told with its UID."""
    files = [capture(tmp_path / f"{n}.dcm", sop_instance_uid=f"1.2.3.{n}", series_instance_uid="1.2.3") for n in (1, 2)]
    for path in files:
        ds = dcmread(path)
        ds.compress(RLELossless, generate_instance_uid=False)
        ds.PixelData = ds.PixelData if path is files[1] else ds.PixelData.replace(ds.PixelData[16:40], bytes(24))
        ds.save_as(path)
    with (
        Pacs() as pacs,
        pytest.raises(Rejected, match=r"1 of 2 .*RLE Lossless.* cannot be decoded.*instance 1\.2\.3\.1"),
    ):
        sender(pacs.port).send(tuple(files))
    assert pacs.stored == {"1.2.3.2": 1}


def test_more_contexts_than_an_association_can_offer_go_by_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`candela send` of a folder of anything: every instance goes, none is lost at the border."""
    first = capture(tmp_path / "1.dcm", sop_instance_uid="1.2.3.1", series_instance_uid="1.2.3")
    original = instance_of(first)
    classes = [str(context.abstract_syntax) for context in AllStoragePresentationContexts][:100]
    many = tuple(original.__class__(first, name, name, RLELossless) for name in classes)
    made = list(batches(many))
    assert [item for batch in made for item in batch] == list(many)
    assert len(made) == 3
    assert all(len(proposals(batch)) <= CONTEXTS_MOST for batch in made)
    monkeypatch.setattr(negotiation, "CONTEXTS_MOST", 2)
    second = capture(tmp_path / "2.dcm", sop_instance_uid="1.2.3.2", series_instance_uid="1.2.3")
    ds = dcmread(second)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = classes[0]
    ds.save_as(second)
    assert classes[0] != SecondaryCaptureImageStorage
    with Pacs() as pacs:
        assert sender(pacs.port).send((first, second)) == "2 instances stored, 0x0000"
    assert (pacs.associations, len(pacs.stored)) == (2, 2)
