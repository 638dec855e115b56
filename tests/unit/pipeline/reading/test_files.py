"""Reading a series from files: what is taken, what is refused, and how the refusal reads."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, RawDataStorage

from pipeline import phantom
from pipeline.errors import BadPixels, EmptyInput, InvalidHeader, MixedSeries, NotDicom, NotImage, Refused, Truncated
from pipeline.geometry.build import build_volume
from pipeline.reading.files import read_path


@pytest.fixture
def folder(tmp_path: Path, axial: tuple[Dataset, ...]) -> Path:
    phantom.save(axial[:5], tmp_path / "series")
    return tmp_path / "series"


def test_a_folder_is_read_through_with_its_sub_folders(folder: Path) -> None:
    """Instances in sub-folders belong to the series; files that are not DICOM are skipped and named."""
    (folder / "deeper").mkdir()
    (folder / "IM0001.dcm").rename(folder / "deeper" / "IM0001.dcm")
    (folder / "README.txt").write_text("exported by a PACS")
    series = read_path(folder)
    assert len(series.datasets) == 5
    assert [Path(name).name for name in series.skipped] == ["README.txt"]


def test_a_zip_reads_like_its_folder(folder: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "series"), "zip", folder)
    assert set(read_path(Path(archive)).sop_instance_uids) == set(read_path(folder).sop_instance_uids)


def test_the_same_instance_twice_counts_once(folder: Path) -> None:
    shutil.copy(folder / "IM0001.dcm", folder / "copy.dcm")
    assert len(read_path(folder).datasets) == 5


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EmptyInput, match="no file"):
        read_path(tmp_path)


def test_a_pdf_is_named_as_a_pdf(tmp_path: Path) -> None:
    """The message says what the file is, where it is, and what to pass instead."""
    (tmp_path / "letter.pdf").write_bytes(b"%PDF-1.7 ...")
    with pytest.raises(NotDicom, match=r"a PDF.*letter\.pdf.*Pass the DICOM files"):
        read_path(tmp_path / "letter.pdf")


def test_a_file_that_only_claims_to_be_dicom_is_refused(folder: Path) -> None:
    """Among good instances a damaged one is named, never skipped: the volume would lack a slice."""
    (folder / "IM0003.dcm").write_bytes(b"<html>session expired</html>")
    with pytest.raises(NotDicom, match=r"IM0003\.dcm"):
        read_path(folder)


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9])
def test_a_truncated_file_is_refused(folder: Path, keep: float) -> None:
    """Wherever the file ends too early, the refusal names it; no volume is built from it."""
    path = folder / "IM0002.dcm"
    data = path.read_bytes()
    path.write_bytes(data[: max(200, int(len(data) * keep))])
    with pytest.raises(Refused, match=r"IM0002\.dcm|instance 2\.25") as caught:
        build_volume(read_path(folder).datasets)
    assert caught.value.code in {"TRUNCATED", "BAD_PIXELS"}


def test_a_file_cut_inside_its_header_is_truncated(folder: Path) -> None:
    path = folder / "IM0002.dcm"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(Truncated):
        read_path(folder)


def test_a_deflated_file_that_ends_early_is_truncated(folder: Path) -> None:
    """Its data set cannot be inflated: a refusal that names the file, not an error of ours."""
    path = folder / "IM0002.dcm"
    ds = pydicom.dcmread(path)
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(Truncated, match=r"IM0002\.dcm"):
        read_path(folder)


def test_two_series_are_refused_with_their_counts(folder: Path) -> None:
    phantom.save(phantom.head_phantom(slices=3, matrix=16, plane="coronal"), folder / "other")
    with pytest.raises(MixedSeries, match=r"2 series here: 2\.25\.\d+ \(5 instances\), 2\.25\.\d+ \(3 instances\)"):
        read_path(folder)


def test_dicom_without_an_image_is_refused(folder: Path, axial: tuple[Dataset, ...]) -> None:
    """An encapsulated PDF is DICOM, but nothing to read."""
    ds = phantom.head_phantom(slices=3, matrix=8)[0]
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.104.1"
    del ds.Rows, ds.Columns, ds.PixelData
    phantom.save([ds], folder.parent / "pdf")
    with pytest.raises(NotImage, match="Encapsulated PDF"):
        read_path(folder.parent / "pdf")


def test_objects_without_an_image_beside_the_images_are_skipped(folder: Path) -> None:
    """Philips puts raw data into the series of the images; it takes nothing from them, and is named."""
    raw = phantom.head_phantom(slices=3, matrix=8)[0]
    raw.SOPClassUID = raw.file_meta.MediaStorageSOPClassUID = RawDataStorage
    raw.SOPInstanceUID = raw.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    del raw.Rows, raw.Columns, raw.PixelData
    raw.save_as(folder / "raw.dcm", enforce_file_format=True)
    series = read_path(folder)
    assert len(series.datasets) == 5
    assert [Path(name).name for name in series.skipped] == ["raw.dcm"]


@pytest.mark.parametrize("keyword", ["Rows", "PixelData"])
def test_an_image_that_lost_its_pixels_is_never_skipped(folder: Path, keyword: str) -> None:
    """It is a slice of the series all the same."""
    ds = pydicom.dcmread(folder / "IM0003.dcm")
    delattr(ds, keyword)
    ds.save_as(folder / "IM0003.dcm")
    with pytest.raises((InvalidHeader, BadPixels), match=r"has no (Rows|pixel data)"):
        read_path(folder)


def test_an_archive_that_unpacks_beyond_bounds_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What really comes out is counted, whatever the archive's directory claims."""
    monkeypatch.setattr("pipeline.reading.files.MOST_UNZIPPED_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(64 << 20))
    with pytest.raises(Refused, match="unpacks to more"):
        read_path(tmp_path / "bomb.zip")


def test_a_deflated_data_set_that_inflates_beyond_bounds_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixty-four times the bound, in a file far below it."""
    monkeypatch.setattr("pipeline.reading.files.MOST_INFLATED_BYTES", 1 << 20)
    ds = pydicom.dcmread(folder / "IM0001.dcm")
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.PixelData = bytes(64 << 20)
    ds.save_as(folder / "IM0001.dcm")
    assert (folder / "IM0001.dcm").stat().st_size < 1 << 20
    with pytest.raises(Refused, match="inflates to more"):
        read_path(folder)


def test_nothing_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_path(tmp_path / "missing")
