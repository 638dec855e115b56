"""The few attributes that are read from each data set."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)

from dicom_node.store.header import read_header
from pipeline.errors import NotDicom
from pipeline.reading.validation import is_uid

SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)


def encode(ds: Dataset, syntax: UID) -> bytes:
    """The data set as it would stand on the wire."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    buffer = BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=False)
    content = buffer.getvalue()
    position = content.index(syntax.encode()) + len(syntax) + len(syntax) % 2
    return content[position:]


def small() -> Dataset:
    ds = Dataset()
    ds.SOPClassUID = MRImageStorage
    ds.SOPInstanceUID = "1.2.3.4"
    ds.StudyInstanceUID = "1.2.3"
    ds.SeriesInstanceUID = "1.2.3.5"
    ds.PatientName = "Phantom^Candela"
    ds.Rows = 4
    return ds


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_uids_are_read_in_every_encoding(syntax: UID) -> None:
    """Implicit, explicit, big endian and deflated data sets say what they are; nothing behind is read."""
    header = read_header(encode(small(), syntax), syntax)
    uids = (header.sop_class_uid, header.sop_instance_uid, header.study_instance_uid, header.series_instance_uid)
    assert uids == (MRImageStorage, "1.2.3.4", "1.2.3", "1.2.3.5")
    assert "Rows" not in header.elements


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_instance_number_is_read_too(syntax: UID) -> None:
    """It says which instance speaks for the series; nothing behind it is read."""
    ds = small()
    ds.SeriesNumber, ds.AcquisitionNumber, ds.InstanceNumber, ds.ImagePositionPatient = 3, 1, 17, [0, 0, 0]
    elements = read_header(encode(ds, syntax), syntax).elements
    assert elements.InstanceNumber == 17
    assert "ImagePositionPatient" not in elements


def test_what_is_damaged_behind_the_uids_keeps_no_instance_out() -> None:
    """A length that lies, or the end of the bytes, between Series Instance UID and Instance Number."""
    ds = small()
    ds.StudyID, ds.InstanceNumber = "7", 17
    encoded = encode(ds, ImplicitVRLittleEndian)
    at = encoded.index(b"\x20\0\x10\0")
    for damaged in (
        encoded[: at + 6],
        encoded[:at] + b"\x20\0\x10\0\xf0\xff\xff\x7f" + encoded[at + 8 :],
        encoded[:at] + b"\x20\0\x10\0\xff\xff\xff\xff" + b"\1" * 40,
    ):
        header = read_header(damaged, ImplicitVRLittleEndian)
        assert header.series_instance_uid == "1.2.3.5"
        assert "InstanceNumber" not in header.elements


@pytest.mark.parametrize("name", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("value", [None, "", "../../etc/passwd", "1.2.3.4\\1.2.3.5", "1..2", "9" * 65, "urn:oid:1.2"])
def test_a_data_set_without_its_uids_is_not_understood(name: str, value: str | None) -> None:
    """A missing, empty, multiple or malformed UID is refused, and can never become a path."""
    ds = small()
    del ds[name]
    if value is not None:
        ds.add_new(name, "LO", value)
    with pytest.raises(NotDicom):
        read_header(encode(ds, ImplicitVRLittleEndian), ImplicitVRLittleEndian)


@given(st.binary(max_size=400), st.sampled_from(SYNTAXES))
def test_any_bytes_are_refused_or_read(content: bytes, syntax: UID) -> None:
    """Hostile bytes raise the typed refusal and nothing else."""
    with pytest.raises(NotDicom):
        read_header(content, syntax)


@given(st.data(), st.sampled_from(SYNTAXES))
def test_a_damaged_data_set_is_refused_or_read(data: st.DataObject, syntax: UID) -> None:
    """One byte changed or the end cut off: either a header with valid UIDs or the typed refusal."""
    content = bytearray(encode(small(), syntax))
    where = data.draw(st.integers(0, len(content) - 1))
    content[where] = data.draw(st.integers(0, 255))
    try:
        header = read_header(bytes(content[: data.draw(st.integers(0, len(content)))]), syntax)
    except NotDicom:
        return
    assert is_uid(header.series_instance_uid)
    assert is_uid(header.sop_instance_uid)


def test_a_deflation_bomb_costs_bounded_memory() -> None:
    """A quarter of a gigabyte of zeros is inflated as far as the bound and refused."""
    import tracemalloc
    import zlib

    packer = zlib.compressobj(wbits=-15)
    bomb = b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(256)), packer.flush()])
    tracemalloc.start()
    with pytest.raises(NotDicom):
        read_header(bomb, DeflatedExplicitVRLittleEndian)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 << 20
