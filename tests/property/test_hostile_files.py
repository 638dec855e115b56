"""Files made to harm: whatever the bytes, a series or a typed refusal, in bounded memory and time."""

from __future__ import annotations

import contextlib
import copy
import io
import resource
import subprocess
import sys
import textwrap
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag

from pipeline import phantom
from pipeline.errors import BadPixels, Refused, Truncated
from pipeline.pixels.values import pixel_values
from pipeline.reading.files import Series, read_parts, read_path
from pipeline.reading.slices import slices_of
from pipeline.reading.weighting import weighting
from tests.forms import short
from tests.shapes import as_file, enhanced

SMALL = phantom.head_phantom(slices=3, matrix=40)


def compressed(syntax: uid.UID) -> Dataset:
    ds = copy.deepcopy(SMALL[0])
    ds.compress(syntax, generate_instance_uid=False)
    return ds


SEEDS = {
    "classic": as_file(SMALL[0]),
    "enhanced": as_file(enhanced(SMALL)),
    "rle": as_file(compressed(uid.RLELossless)),
    "jpeg-ls": as_file(compressed(uid.JPEGLSLossless)),
    "jpeg 2000": as_file(compressed(uid.JPEG2000Lossless)),
}
HOSTILE = settings(deadline=20_000, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
"""The deadline of twenty seconds is the bound on time that these tests hold (they run on loaded machines)."""


def whole_way(*files: bytes) -> Series | None:
    """Through reading, headers and pixels; None for a refusal. Any other exception is a failure of the test."""
    try:
        series = read_parts([(f"{n}.dcm", data) for n, data in enumerate(files)], where="here")
        weighting(series.header)
        for plane in slices_of(series.datasets):
            assert pixel_values(plane).shape == (plane.ds.Rows, plane.ds.Columns)
    except Refused as error:
        refusal = error
    else:
        return series
    assert refusal.what
    assert "Phantom^Candela" not in str(refusal)
    return None


@pytest.mark.parametrize("seed", SEEDS)
def test_the_seeds_are_sound(seed: str) -> None:
    """Else every mutation below would be refused for the seed's own fault."""
    assert whole_way(SEEDS[seed]) is not None


@HOSTILE
@given(
    st.sampled_from(sorted(SEEDS)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12),
    st.floats(0.05, 1),
)
def test_flipped_bytes_and_cuts(seed: str, flips: list[tuple[float, int]], keep: float) -> None:
    """Garbled on the way: anywhere, also inside lengths, tags and codestreams."""
    data = bytearray(SEEDS[seed])
    for place, value in flips:
        data[int(place * len(data))] = value
    whole_way(bytes(data[: max(140, int(len(data) * keep))]))


HEADER_END = 1600


@HOSTILE
@example("classic", 163, b"\0")  # another VR in the file meta
@given(
    st.sampled_from(sorted(SEEDS)),
    st.integers(132, HEADER_END),
    st.one_of(st.binary(min_size=1, max_size=12), st.sampled_from([b"\xff\xff\xff\xff", b"\0\0\0\x80", b"SQ", b"UN"])),
)
def test_patches_of_the_header(seed: str, place: int, patch: bytes) -> None:
    """Lengths of four gigabytes, values of another kind, sequences where there were none."""
    data = SEEDS[seed]
    whole_way(data[:place] + patch + data[place + len(patch) :])


KEYWORDS = [
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel"),
    *("PhotometricInterpretation", "NumberOfFrames", "ImageType", "PixelSpacing", "ImagePositionPatient"),
    *("ImageOrientationPatient", "RescaleSlope", "RescaleIntercept", "WindowCenter", "InstanceNumber", "EchoTime"),
    *("RepetitionTime", "ScanningSequence", "PixelPaddingValue", "PixelPaddingRangeLimit", "ModalityLUTSequence"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "SOPClassUID", "SeriesInstanceUID"),
    *("FloatPixelData", "PixelAspectRatio", "ConcatenationUID", "InConcatenationNumber", "SpecificCharacterSet"),
]
VALUES = st.one_of(
    st.tuples(st.just("US"), st.integers(0, 65535)),
    st.tuples(st.just("SL"), st.integers(-(2**31), 2**31 - 1)),
    st.tuples(st.just("FD"), st.floats()),
    st.tuples(st.just("FD"), st.lists(st.floats(), min_size=0, max_size=7)),
    st.tuples(st.just("LO"), st.text("0123456789.eE+-nanif\\ABC ", max_size=16)),
    st.tuples(st.just("OB"), st.binary(max_size=20)),
    st.tuples(st.just("SQ"), st.just([Dataset()])),
    st.tuples(st.just("SQ"), st.just([])),
    st.tuples(st.just("AT"), st.just(0x00280010)),
)


@HOSTILE
@given(st.sampled_from(["classic", "enhanced", "jpeg-ls"]), st.data())
def test_values_of_another_kind(seed: str, data: st.DataObject) -> None:
    """A well-formed file whose attributes hold anything at all, at the top or in a functional group."""
    ds = pydicom.dcmread(io.BytesIO(SEEDS[seed]))
    for keyword in data.draw(st.lists(st.sampled_from(KEYWORDS), min_size=1, max_size=4)):
        vr, value = data.draw(VALUES)
        target = ds
        if seed == "enhanced" and data.draw(st.booleans()):
            frames = ds.get("PerFrameFunctionalGroupsSequence")
            groups = [element for element in frames[0] if element.VR == "SQ"] if isinstance(frames, list) else []
            target = data.draw(st.sampled_from(groups)).value[0] if groups else ds
        target.add_new(Tag(keyword), vr, value)
    try:
        written = as_file(ds)
    except Exception:  # noqa: BLE001 - what pydicom cannot write cannot arrive
        return
    whole_way(written)


@HOSTILE
@given(st.sampled_from(["rle", "jpeg-ls", "jpeg 2000"]), st.binary(max_size=300), st.integers(0, 200))
def test_codestreams_of_anything(seed: str, noise: bytes, keep: int) -> None:
    """A true beginning and then noise, properly encapsulated: the decoders meet what no encoder wrote."""
    ds = pydicom.dcmread(io.BytesIO(SEEDS[seed]))
    frame = next(pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=1))
    ds.PixelData = encapsulate([frame[:keep] + noise + b"\xff\xd9"])
    whole_way(as_file(ds))


@HOSTILE
@given(st.binary(max_size=400), st.booleans())
def test_archives_of_anything(tmp_path_factory: pytest.TempPathFactory, noise: bytes, torn: bool) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", SEEDS["classic"])
    data = bytearray(buffer.getvalue())
    middle = len(data) // 3
    data[middle : middle + (len(noise) if torn else 0)] = noise
    path = tmp_path_factory.mktemp("zip") / "a.zip"
    path.write_bytes(data)
    with contextlib.suppress(Refused):
        read_path(path)


def nested(depth: int) -> bytes:
    """A file with ``depth`` sequences of undefined length, one in the other, before its pixels."""
    opened = b"\x40\x00\x30\xa7SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * depth
    closed = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0" * depth
    data = SEEDS["classic"]
    at = data.index(b"\xe0\x7f\x10\x00OW")
    return data[:at] + opened + closed + data[at:]


@pytest.mark.parametrize("depth", [30, 1000, 50_000])
def test_deeply_nested_sequences_end(depth: int) -> None:
    """Thirty are read; fifty thousand are refused, not the end of the process."""
    if depth == 30:
        assert whole_way(nested(depth)) is not None
        return
    with pytest.raises(Truncated, match="RecursionError"):
        read_parts([("a.dcm", nested(depth))], where="here")


def huge_claim() -> bytes:
    """Four thousand million pixels in a JPEG 2000 stream and a header that agree with each other."""
    ds = pydicom.dcmread(io.BytesIO(SEEDS["jpeg 2000"]))
    frame = next(pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=1))
    size = (65535).to_bytes(4, "big") * 2
    ds.PixelData = encapsulate([frame[:8] + size + frame[16:24] + size + frame[32:]])
    ds.Rows = ds.Columns = 65535
    return as_file(ds)


def inner_claim() -> bytes:
    """The same claim in the codestream alone: the header is a small image's."""
    ds = pydicom.dcmread(io.BytesIO(huge_claim()))
    ds.Rows = ds.Columns = 40
    return as_file(ds)


def many_frames() -> bytes:
    ds = enhanced(SMALL)
    ds.NumberOfFrames = 2**31 - 1
    return as_file(ds)


def length_beyond_the_file() -> bytes:
    """Pixel data of four gigabytes, said to be of a file that ends before one image is whole."""
    data = SEEDS["classic"]
    at = data.index(b"\xe0\x7f\x10\x00OW") + 8
    return data[:at] + b"\xf0\xff\xff\xff" + data[at + 4 : -100]


def deflated_bomb() -> bytes:
    """Two mebibytes that inflate to two gibibytes."""
    ds = copy.deepcopy(SMALL[0])
    ds.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    head = as_file(ds)
    meta_end = 132 + 12 + int.from_bytes(head[140:144], "little")
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = bytes(1 << 24)
    return head[:meta_end] + b"".join(deflater.compress(zeros) for _ in range(128)) + deflater.flush()


BOMBS: dict[str, Callable[[], bytes]] = {
    maker.__name__: maker for maker in (huge_claim, inner_claim, many_frames, length_beyond_the_file, deflated_bomb)
}
BOUND = 1 << 30
PROGRAM = """
    import resource, sys
    from pathlib import Path
    from pipeline.errors import Refused
    from pipeline.reading.files import read_path
    from pipeline.pixels.values import pixel_values
    from pipeline.reading.slices import slices_of
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        for plane in slices_of(read_path(Path(sys.argv[1])).datasets):
            pixel_values(plane)
    except Refused as refusal:
        print(refusal.code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("bomb", short(BOMBS, *(name for name in BOMBS if name != "deflated_bomb")))
def test_a_bomb_takes_no_memory(bomb: str, tmp_path: Path) -> None:
    """Refused in a process of its own that may have one more gibibyte and two minutes, and needs far less."""
    path = tmp_path / "bomb.dcm"
    path.write_bytes(BOMBS[bomb]())
    assert path.stat().st_size < 4 << 20

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (BOUND * 2, BOUND * 2))

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=limit,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr[-2000:]
    code, grown = done.stdout.split()
    assert code in {"BAD_PIXELS", "BAD_GEOMETRY", "TRUNCATED", "REFUSED"}
    assert int(grown) < 200 << 10, f"{bomb} took {int(grown) >> 10} MiB"


def test_a_file_beyond_bounds_is_not_read(tmp_path: Path) -> None:
    """A sparse file of terabytes costs a look at its size."""
    path = tmp_path / "big.dcm"
    with path.open("wb") as file:
        file.truncate(3 << 40)
    with pytest.raises(Refused, match="at most 2048 are read"):
        read_path(path)


def test_a_series_of_large_claims_is_refused_before_it_is_decoded() -> None:
    """Each slice alone is within bounds; together they are not."""
    ds = pydicom.dcmread(io.BytesIO(SEEDS["rle"]))
    ds.Rows = ds.Columns = 8192
    with pytest.raises(BadPixels, match="more than 1073741824 voxels"):
        slices_of([ds] * 20)
