"""Times and sizes with units; plain numbers as before."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.settings.quantities import SECONDS, size_text, time_text
from dicom_node.settings.tree import load
from pipeline.errors import BadSettings


def read(tmp_path: Path, text: str):
    path = tmp_path / "candela.toml"
    path.write_text(text)
    return load(path)


@pytest.mark.parametrize(
    ("stated", "seconds"),
    [
        ('"15min"', 900.0),
        ('"2 h"', 7200.0),
        ('"30 s"', 30.0),
        ('"500ms"', 0.5),
        ('"1.5 h"', 5400.0),
        ('" 1 d "', 86400.0),
        ('"2 w"', 1209600.0),
        ('"PT15M"', 900.0),
        ('"00:01:30"', 90.0),
        ('"45"', 45.0),
        ("45", 45.0),
        ("0.5", 0.5),
    ],
)
def test_a_time_has_a_unit_or_is_in_seconds(tmp_path: Path, stated: str, seconds: float) -> None:
    assert read(tmp_path, f"[completion]\nquiet_time = {stated}").completion.quiet_time == seconds


@pytest.mark.parametrize(("stated", "days"), [("30", 30.0), ('"30 d"', 30.0), ('"36 h"', 1.5), ('"P7D"', 7.0)])
def test_a_setting_in_days_keeps_its_unit(tmp_path: Path, stated: str, days: float) -> None:
    assert read(tmp_path, f"[retention]\nkeep_days = {stated}").retention.keep_days == days


def test_audit_files_are_kept_for_whole_days(tmp_path: Path) -> None:
    assert read(tmp_path, '[audit]\nretention_days = "2 w"').audit.retention_days == 14
    with pytest.raises(BadSettings, match=r"audit\.retention_days"):
        read(tmp_path, '[audit]\nretention_days = "36 h"')


@pytest.mark.parametrize(
    ("stated", "size"), [("4096", 4096), ('"64 KiB"', 65536), ('"1 MB"', 1_000_000), ('"4096"', 4096)]
)
def test_a_size_has_a_unit_or_is_in_bytes(tmp_path: Path, stated: str, size: int) -> None:
    assert read(tmp_path, f"[receive.limits]\npdu_bytes = {stated}").receive.limits.pdu_bytes == size


@pytest.mark.parametrize("stated", ["2048", "2048.0", '"2 KiB"', '"2 KiB/s"'])
def test_a_rate_is_bytes_a_second(tmp_path: Path, stated: str) -> None:
    assert read(tmp_path, f"[receive.limits]\nminimum_rate = {stated}").receive.limits.minimum_rate == 2048


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[completion]\nquiet_time = "3 parsecs"', "completion.quiet_time: '3 parsecs' is not a time.*15min"),
        ('[completion]\nquiet_time = "-3 s"', "completion.quiet_time"),
        ('[completion]\nquiet_time = "nan"', "completion.quiet_time"),
        ('[completion]\nquiet_time = "inf"', "completion.quiet_time"),
        ('[jobs]\npoll_interval = "0 s"', "jobs.poll_interval: .*greater than 0"),
        ('[receive.limits]\npdu_bytes = "4 bananas"', "receive.limits.pdu_bytes"),
        ('[receive.limits]\npdu_bytes = "1 GiB"', "receive.limits.pdu_bytes: .*less than or equal"),
    ],
)
def test_what_is_no_quantity_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadSettings, match=message):
        read(tmp_path, text)


@given(st.integers(1, 10**6), st.sampled_from(list(SECONDS)))
def test_a_time_in_words_is_the_same_time(number: int, unit: str) -> None:
    from pydantic import TypeAdapter

    from dicom_node.settings.quantities import Seconds

    seconds = TypeAdapter(Seconds).validate_python(f"{number} {unit}")
    assert TypeAdapter(Seconds).validate_python(time_text(seconds)) == pytest.approx(seconds, rel=1e-4)


@given(st.integers(0, 1 << 45))
def test_a_size_in_words_is_the_same_size(size: int) -> None:
    from pydantic import ByteSize, TypeAdapter

    assert TypeAdapter(ByteSize).validate_python(size_text(size)) == size
