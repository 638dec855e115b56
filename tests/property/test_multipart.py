"""Multipart bodies come apart as they were put together, however they are cut on the way."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dicom_node.network.multipart import PartReader, media_type
from pipeline.errors import NotDicom, Truncated

BOUNDARY = "b-ound"
NEARLY = [
    b"\r",
    b"\n",
    b"-",
    b"--",
    b"\r\n",
    b"\r\n--",
    b"\r\n--b-oun",
    b"--b-ound",
    b"\r\n--b-oundx",
    b"b-ound",
    b"\0",
    b"x",
]
CONTENT = st.lists(st.one_of(st.sampled_from(NEARLY), st.binary(max_size=20)), max_size=12).map(b"".join)


class Collector:
    """`Parts` that keeps all."""

    def __init__(self) -> None:
        self.parts: list[tuple[dict[str, str], bytes]] = []
        self.ended = 0

    def begin(self, headers: Mapping[str, str]) -> None:
        self.parts.append((dict(headers), b""))

    def data(self, content: bytes) -> None:
        assert content
        headers, so_far = self.parts[-1]
        self.parts[-1] = (headers, so_far + content)

    def end(self) -> None:
        self.ended += 1


def body(contents: list[bytes]) -> bytes:
    head = b"\r\nContent-Type: application/dicom\r\nX-Number: 1\r\n\r\n"
    return b"".join(b"--b-ound" + head + content + b"\r\n" for content in contents) + b"--b-ound--"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(contents=st.lists(CONTENT, min_size=1, max_size=4), cuts=st.lists(st.integers(1, 60), min_size=1, max_size=40))
def test_any_contents_in_any_pieces_come_back(contents: list[bytes], cuts: list[int]) -> None:
    """Contents that nearly are a boundary included; those that hold the whole one cannot be sent with it."""
    contents = [content for content in contents if b"\r\n--b-ound" not in b"\r\n" + content] or [b"x"]
    whole, collector = body(contents), Collector()
    reader = PartReader(BOUNDARY, collector)
    at, number = 0, 0
    while at < len(whole):
        step = cuts[number % len(cuts)]
        reader.feed(whole[at : at + step])
        at, number = at + step, number + 1
    reader.finish()
    assert [content for _, content in collector.parts] == contents
    assert collector.ended == len(contents)
    assert all(headers == {"content-type": "application/dicom", "x-number": "1"} for headers, _ in collector.parts)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(content=CONTENT, cut=st.integers(0, 200))
def test_a_body_that_was_cut_is_never_taken_for_whole(content: bytes, cut: int) -> None:
    """Wherever it ends: `Truncated`, and no part counts as come whole without the delimiter behind it."""
    content = content.replace(b"b-ound", b"")
    whole = body([content])
    collector = Collector()
    reader = PartReader(BOUNDARY, collector)
    reader.feed(whole[: min(cut, len(whole) - 1)])
    with pytest.raises(Truncated):
        reader.finish()
    assert collector.ended == 0


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(min_size=1, max_size=300))
def test_no_bytes_break_the_reader(content: bytes) -> None:
    """What is not multipart is told so, or ends before its delimiter; nothing else is raised."""
    reader = PartReader(BOUNDARY, Collector())
    try:
        reader.feed(content)
    except NotDicom:
        return
    with pytest.raises(Truncated):
        reader.finish()


@pytest.mark.parametrize("boundary", ["", "x" * 300])
def test_an_impossible_boundary_is_refused(boundary: str) -> None:
    with pytest.raises(NotDicom):
        PartReader(boundary, Collector())


def test_a_media_type_is_read_with_its_parameters() -> None:
    """Quoted or not, in any case."""
    kind, parameters = media_type('Multipart/Related; TYPE="application/dicom";boundary=a-b; transfer-syntax=*')
    assert kind == "multipart/related"
    assert parameters == {"type": "application/dicom", "boundary": "a-b", "transfer-syntax": "*"}
