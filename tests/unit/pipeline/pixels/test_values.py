"""Pixels of every kind as modality values: transfer syntaxes, bits, signs, padding, MONOCHROME1, LUTs; and refusals."""

from __future__ import annotations

import base64
import copy
import shutil
import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames

from pipeline import phantom
from pipeline.errors import BadPixels
from pipeline.pixels.decoding import StoredPixels
from pipeline.pixels.values import pixel_values
from pipeline.reading.slices import slices_of
from tests.shapes import as_file, enhanced, group, recoded, reread, with_pixels

RAMP = np.arange(64, dtype=np.uint16).reshape(8, 8) * 60


@pytest.fixture(scope="module")
def made() -> Dataset:
    """One slice of the phantom, 48 × 32."""
    first = phantom.head_phantom(slices=3, matrix=48)[1]
    array = np.frombuffer(first.PixelData, np.uint16).reshape(48, 48)[:, :32]
    return with_pixels(first, array, BitsStored=12, HighBit=11)


def values(ds: Dataset) -> np.ndarray:
    (plane,) = slices_of([ds])
    return pixel_values(plane)


def plain(array: np.ndarray, **attributes: object) -> Dataset:
    return with_pixels(phantom.head_phantom(slices=3, matrix=4)[0], array, **attributes)


DCMTK = {
    uid.ImplicitVRLittleEndian: ["dcmconv", "+ti"],
    uid.ExplicitVRBigEndian: ["dcmconv", "+tb"],
    uid.DeflatedExplicitVRLittleEndian: ["dcmconv", "+td"],
    uid.JPEGLossless: ["dcmcjpeg", "+el"],
    uid.JPEGLosslessSV1: ["dcmcjpeg", "+e1"],
    uid.JPEGLSLossless: ["dcmcjpls"],
    uid.RLELossless: ["dcmcrle"],
}
OWN = [uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless]


@pytest.mark.parametrize("syntax", DCMTK, ids=lambda syntax: syntax.name)
def test_lossless_syntaxes_of_dcmtk_give_the_same_voxels(made: Dataset, syntax: uid.UID, tmp_path: Path) -> None:
    if not shutil.which(DCMTK[syntax][0]):
        pytest.skip("dcmtk is not installed")
    ds = recoded(made, DCMTK[syntax], tmp_path)
    assert ds.file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(values(ds), values(made))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("syntax", OWN, ids=lambda syntax: syntax.name)
def test_lossless_syntaxes_of_pydicom_give_the_same_voxels(made: Dataset, syntax: uid.UID, signed: bool) -> None:
    """Signed values too: a JPEG stream has no word for them, and decoders differ."""
    source = made
    if signed:
        source = with_pixels(made, values(made).astype(np.int16) - 1000, BitsStored=12, HighBit=11)
        assert values(source).min() < -900
    ds = copy.deepcopy(source)
    ds.compress(syntax, generate_instance_uid=False)
    np.testing.assert_array_equal(values(reread(ds)), values(source))


HTJ2K = base64.b64decode(
    "/0//UQApQAAAAAAUAAAAGAAAAAAAAAAAAAAAFAAAABgAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCIkJCQkJCQkJ"
    "CQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAMsAAf+TwAAmx/4FB3QAwAASwAATAOQBB3QAWv4CB3QAwAARwAATAAET"
    "AK2tAEI0AMAAEkAAFeAMcnQA/3//BxUK6gBgALzo+bgAwAAVMAAFut7du9r9fst2AP9//3//fwPvwDvwDrwD70ARmEIAMX/+svH6Mb4AwAAr4A"
    "AXaiRJkiT57/inp6enp0J6AP9//3//f/9//3//f/8HsAALsAALsAALsAALsAD7ACAQhABBCEAGOABoADQAGgANFSpUrbgB/9k="
)
"""`HTJ2K_SOURCE`, encoded once by OpenJPH: nothing in the project can write High-Throughput JPEG 2000."""
HTJ2K_SOURCE = (np.add.outer(np.arange(24) ** 2, np.arange(20) * 7) % 4096).astype(np.uint16)


@pytest.mark.parametrize("syntax", [uid.HTJ2KLossless, uid.HTJ2K], ids=lambda syntax: syntax.name)
def test_high_throughput_jpeg_2000_gives_the_same_voxels(syntax: uid.UID) -> None:
    ds = plain(HTJ2K_SOURCE)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate([HTJ2K])
    ds["PixelData"].VR = "OB"
    np.testing.assert_array_equal(values(reread(ds)), HTJ2K_SOURCE)


def test_baseline_jpeg_is_near_the_original(made: Dataset, tmp_path: Path) -> None:
    if not shutil.which("dcmcjpeg"):
        pytest.skip("dcmtk is not installed")
    source = with_pixels(made, (values(made) / 16).astype(np.uint8))
    np.testing.assert_allclose(
        values(recoded(source, ["dcmcjpeg", "+eb", "+q", "98"], tmp_path)), values(source), atol=9
    )


def test_jpeg_extended_of_twelve_bits_is_refused_by_name(made: Dataset, tmp_path: Path) -> None:
    if not shutil.which("dcmcjpeg"):
        pytest.skip("dcmtk is not installed")
    with pytest.raises(BadPixels, match=r"12 bits, and JPEG Extended is read with 8"):
        values(recoded(made, ["dcmcjpeg", "+ee"], tmp_path))


def test_real_versions_of_one_image_give_identical_voxels(real_data: Path) -> None:
    """Nine files, seven transfer syntaxes, one scanner's image. It is a mosaic, so its slices are not looked for."""
    files = sorted((real_data / "dicom" / "mixed_ts_trio_epi").glob("*.dcm"))
    instances = [pydicom.dcmread(path) for path in files]
    assert len({ds.file_meta.TransferSyntaxUID for ds in instances}) == 7
    decoded = [StoredPixels(ds).cells(1) for ds in instances]
    assert len(decoded) == 9
    assert decoded[0].max() > 500
    for other in decoded[1:]:
        np.testing.assert_array_equal(other, decoded[0])


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32])
def test_every_integer_is_read(kind: type) -> None:
    info = np.iinfo(kind)
    array = np.array([[info.min, info.max], [0, 1]], dtype=kind)
    np.testing.assert_array_equal(values(plain(array)), array.astype(np.float32))


@pytest.mark.parametrize(("keyword", "kind"), [("FloatPixelData", np.float32), ("DoubleFloatPixelData", np.float64)])
def test_floating_point_pixels_are_read(keyword: str, kind: type) -> None:
    array = np.array([[0.25, -3.5], [1e6, 0]], dtype=kind)
    ds = plain(array.astype(np.uint8), BitsAllocated=array.dtype.itemsize * 8)
    del ds.PixelData, ds.BitsStored, ds.HighBit, ds.PixelRepresentation
    setattr(ds, keyword, array.tobytes())
    np.testing.assert_array_equal(values(ds), array.astype(np.float32))
    setattr(ds, keyword, np.full((2, 2), np.nan, kind).tobytes())
    with pytest.raises(BadPixels, match="not finite"):
        values(ds)


def test_bits_beside_the_stored_ones_are_cut_off() -> None:
    """Old overlays and flags live above BitsStored (PS3.5 8.1.1); signed values keep their sign."""
    dirty = RAMP | 0xF000
    np.testing.assert_array_equal(values(plain(dirty, BitsStored=12, HighBit=11)), RAMP)
    signed = plain((np.arange(-8, 8, dtype=np.int16) & 0x0FFF).reshape(4, 4), BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(values(signed).ravel(), np.arange(-8, 8))


def test_a_high_bit_further_up_is_obeyed() -> None:
    """ACR-NEMA's heirs keep twelve bits at the top of sixteen."""
    np.testing.assert_array_equal(values(plain(RAMP << 4, BitsStored=12, HighBit=15)), RAMP)


def test_big_endian_bytes_in_words_are_swapped(made: Dataset, tmp_path: Path) -> None:
    """8-bit pixels as OW in big endian: pairs of bytes change places (PS3.5 A.3)."""
    if not shutil.which("dcmconv"):
        pytest.skip("dcmtk is not installed")
    source = with_pixels(made, (values(made) / 16).astype(np.uint8))
    source["PixelData"].VR = "OW"
    np.testing.assert_array_equal(values(recoded(source, ["dcmconv", "+tb"], tmp_path)), values(source))


def test_rescale_is_applied() -> None:
    ds = plain(RAMP, RescaleSlope="0.5", RescaleIntercept="-1024")
    np.testing.assert_array_equal(values(ds), RAMP * 0.5 - 1024)
    np.testing.assert_array_equal(values(plain(RAMP, RescaleSlope="-2", RescaleIntercept="")), RAMP * -2.0)


def test_a_slope_of_zero_is_refused() -> None:
    with pytest.raises(BadPixels, match="RescaleSlope is 0"):
        values(plain(RAMP, RescaleSlope="0", RescaleIntercept="5"))


def test_values_beyond_float32_are_refused() -> None:
    with pytest.raises(BadPixels, match="not finite"):
        values(plain(RAMP, RescaleSlope="1e38", RescaleIntercept="0"))


def lut(entries: list[int], *, first: int = 0, kind: str = "US") -> list[Dataset]:
    return group(LUTDescriptor=[len(entries), first, 16], LUTData=entries, ModalityLUTType=kind)


def test_a_modality_lut_is_applied() -> None:
    array = np.array([[9, 10], [11, 99]], np.uint16)
    ds = plain(array, ModalityLUTSequence=lut([100, 200, 400], first=10))
    np.testing.assert_array_equal(values(ds), [[100, 100], [200, 400]])


def test_a_modality_lut_that_lies_is_refused() -> None:
    ds = plain(RAMP, ModalityLUTSequence=lut([1, 2, 3]))
    ds.ModalityLUTSequence[0].LUTDescriptor = [60000, 0, 16]
    with pytest.raises(BadPixels, match="Modality LUT does not agree"):
        values(ds)
    both = plain(RAMP, ModalityLUTSequence=lut([1, 2, 3]), RescaleSlope="1", RescaleIntercept="0")
    with pytest.raises(BadPixels, match="exclude each other"):
        values(both)


def test_real_world_values_are_left_alone() -> None:
    """They map to another quantity than the one that models read; the slice's header still carries them."""
    mapping = group(RealWorldValueSlope=7.0, RealWorldValueIntercept=3.0)
    ds = enhanced([plain(RAMP)], each=lambda _i, item: setattr(item, "RealWorldValueMappingSequence", mapping))
    (plane,) = slices_of([ds])
    np.testing.assert_array_equal(pixel_values(plane), RAMP)
    assert plane.ds.RealWorldValueMappingSequence[0].RealWorldValueSlope == 7


def test_monochrome1_signal_is_mirrored_with_its_window() -> None:
    """Great is white in every image that a model sees: 12 bits unsigned mirror about 4095, and so does the window."""
    ds = plain(RAMP, BitsStored=12, HighBit=11, PhotometricInterpretation="MONOCHROME1", WindowCenter="1000")
    (plane,) = slices_of([ds])
    np.testing.assert_array_equal(pixel_values(plane), 4095.0 - RAMP)
    assert (plane.ds.PhotometricInterpretation, plane.ds.WindowCenter) == ("MONOCHROME2", 3095)
    assert (ds.PhotometricInterpretation, ds.WindowCenter) == ("MONOCHROME1", 1000)
    assert "PixelData" not in plane.ds


def test_a_mirrored_image_is_shown_as_the_original_was() -> None:
    """Windowed to 0..1 and inverted for MONOCHROME1, the original equals the mirrored one windowed (C.11.2.1.2)."""
    ds = plain(RAMP, BitsStored=12, HighBit=11, PhotometricInterpretation="MONOCHROME1", RescaleSlope="2")
    ds.RescaleIntercept, ds.WindowCenter, ds.WindowWidth = "-100", "3000", "2000"
    (plane,) = slices_of([ds])
    original = 1 - np.clip((RAMP * 2.0 - 100 - 3000) / 2000 + 0.5, 0, 1)
    mirrored = np.clip((pixel_values(plane) - float(plane.ds.WindowCenter)) / 2000 + 0.5, 0, 1)
    np.testing.assert_allclose(mirrored, original, atol=1e-6)


def test_monochrome1_hounsfield_units_stay() -> None:
    """A unit is a unit, shown black or white."""
    ds = plain(RAMP, PhotometricInterpretation="MONOCHROME1", Modality="CT", RescaleSlope="1", RescaleIntercept="-1024")
    np.testing.assert_array_equal(values(ds), RAMP - 1024.0)


def test_padding_becomes_nothing() -> None:
    """Outside the circle of a CT there is air; where an MR was masked there is no signal."""
    array = np.array([[-2000, 0], [1500, -2000]], np.int16)
    ct = plain(array, Modality="CT", RescaleSlope="1", RescaleIntercept="0", RescaleType="HU")
    ct.add_new("PixelPaddingValue", "US", 65536 - 2000)  # the VR is ambiguous, and writers take the wrong one
    np.testing.assert_array_equal(values(ct), [[-1000, 0], [1500, -1000]])
    mr = plain(array)
    mr.add_new("PixelPaddingValue", "SS", -2000)
    np.testing.assert_array_equal(values(mr), [[0, 0], [1500, 0]])
    mr.add_new("PixelPaddingRangeLimit", "SS", 0)
    np.testing.assert_array_equal(values(mr), [[0, 0], [1500, 0]])


def test_padding_beyond_the_stored_bits_is_still_padding() -> None:
    """63536 in a 12-bit image: cutting the bits off first would make 2096 of it, a signal."""
    array = np.array([[63536, 5], [2096, 7]], np.uint16)
    ds = plain(array, BitsStored=12, HighBit=11)
    ds.add_new("PixelPaddingValue", "US", 63536)
    np.testing.assert_array_equal(values(ds), [[0, 5], [2096, 7]])


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, r"RGB \(SamplesPerPixel 3\)"),
        ({"PhotometricInterpretation": "YBR_FULL_422", "SamplesPerPixel": 3}, "YBR_FULL_422"),
        ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, "1 bits are allocated"),
        ({"BitsAllocated": 12, "BitsStored": 12, "HighBit": 11}, "12 bits are allocated"),
        ({"BitsStored": 17}, "contradict"),
        ({"HighBit": 3}, "contradict"),
        ({"PixelRepresentation": 2}, "contradict"),
        ({"Rows": 0}, "frames of 0×8"),
        ({"Rows": 65535, "Columns": 65535}, "claims 65535×65535 pixels"),
        ({"Rows": 9}, "has 128 bytes where the header claims 144"),
        ({"Rows": 4}, "holds more than stated"),
        ({"FloatPixelData": b"\0\0\0\0"}, "pixel data twice"),
    ],
)
def test_pixels_that_cannot_be_true_are_refused(attributes: dict[str, object], says: str) -> None:
    with pytest.raises(BadPixels, match=says):
        values(plain(RAMP, **attributes))


@pytest.mark.parametrize("syntax", [uid.MPEG4HP41, uid.UID("1.2.840.113619.5.2"), ""])
def test_an_unread_transfer_syntax_is_refused(syntax: str) -> None:
    ds = plain(RAMP)
    ds.file_meta.TransferSyntaxUID = syntax
    with pytest.raises(BadPixels, match="transfer syntax"):
        values(ds)


def compressed(made: Dataset, syntax: uid.UID) -> tuple[Dataset, bytes]:
    ds = copy.deepcopy(made)
    ds.compress(syntax, generate_instance_uid=False)
    return ds, next(generate_frames(ds.PixelData, number_of_frames=1))


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.7, 0.98])
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"], ids=["cut", "cut and ended"])
@pytest.mark.parametrize("syntax", OWN, ids=lambda syntax: syntax.name)
def test_a_frame_cut_short_is_refused(made: Dataset, syntax: uid.UID, end: bytes, keep: float) -> None:
    """Never half an image over a grey rest, also where somebody closed the stream properly."""
    ds, frame = compressed(made, syntax)
    ds.PixelData = encapsulate([frame[: int(len(frame) * keep)] + end])
    with pytest.raises(BadPixels):
        values(ds)


@pytest.mark.parametrize("syntax", OWN[1:], ids=lambda syntax: syntax.name)
def test_a_stream_that_claims_another_size_is_not_decoded(
    made: Dataset, syntax: uid.UID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few bytes that claim 60000 × 60000: the claim is compared before a decoder allocates for it."""
    ds, frame = compressed(made, syntax)
    if syntax == uid.JPEG2000Lossless:
        huge = (60000).to_bytes(4, "big") * 2  # image size, and one tile of it
        lying = frame[:8] + huge + frame[16:24] + huge + frame[32:]
    else:
        at = frame.index(b"\xff\xf7") + 5
        lying = frame[:at] + (60000).to_bytes(2, "big") * 2 + frame[at + 4 :]
    ds.PixelData = encapsulate([lying])

    def never(*_args: object, **_options: object) -> None:
        raise AssertionError("the decoder was asked")

    monkeypatch.setattr("pydicom.pixels.decoders.base.Decoder.as_array", never)
    with pytest.raises(BadPixels, match="claims 60000×60000 pixels where the header says 48×32"):
        values(ds)


def test_an_rle_frame_of_more_pixels_than_claimed_is_refused(made: Dataset) -> None:
    """The decoder, written in Rust, then raises what is no `Exception`, and would end the process."""
    ds, _ = compressed(made, uid.RLELossless)
    segment = (b"\x81\x07" * (ds.Rows * ds.Columns // 128 + 2)).ljust(4, b"\0")  # runs of 128 pixels of value 7
    frame = struct.pack("<16L", 2, 64, 64 + len(segment), *[0] * 13) + segment * 2
    ds.PixelData = encapsulate([frame])
    with pytest.raises(BadPixels, match=r"RLE.* cannot be decoded"):
        values(ds)


def test_more_or_fewer_frames_than_claimed_are_refused(made: Dataset) -> None:
    _, frame = compressed(made, uid.RLELossless)
    for count in (1, 3):
        ds = enhanced([made] * 2)
        ds.file_meta.TransferSyntaxUID = uid.RLELossless
        ds.PixelData = encapsulate([frame] * count)
        ds["PixelData"].is_undefined_length = True
        plane = slices_of([reread(ds)])[0]
        with pytest.raises(BadPixels, match=r"frames where the header claims 2|separated"):
            pixel_values(plane)


def test_frames_are_found_once_not_once_each(made: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search from the start for each of a thousand frames would take a million steps."""
    searches = []

    def counted(*args: object, **options: object) -> object:
        searches.append(1)
        return generate_frames(*args, **options)

    ds = enhanced([made] * 6)
    ds.compress(uid.RLELossless, generate_instance_uid=False)
    monkeypatch.setattr("pipeline.pixels.decoding.generate_frames", counted)
    for plane in slices_of([ds]):
        pixel_values(plane)
    assert len(searches) == 1


def test_a_file_keeps_its_bytes_once(made: Dataset) -> None:
    """pydicom holds on to the buffer that it read from; a series would take its size twice."""
    from pipeline.reading.files import read_parts

    (ds,) = read_parts([("a.dcm", as_file(made))], where="here").datasets
    assert ds.buffer is None
