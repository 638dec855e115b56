"""The form of a UID, as every part of Candela checks it."""

from __future__ import annotations

import pytest

from pipeline.reading.validation import is_regular_uid, is_uid


@pytest.mark.parametrize("value", ["1", "1.2.840.0123", "2.25.0", "1." + "2" * 62])
def test_uids_that_scanners_write_are_accepted(value: str) -> None:
    """Digits and dots up to 64 characters, leading zeros too."""
    assert is_uid(value)


@pytest.mark.parametrize("value", ["", ".", "..", "1.", ".1", "1/2", "1.2\0", "1.2\n", "١.٢", "1" * 65])
def test_nothing_else_is_a_uid(value: str) -> None:
    """No dots alone, separators, control characters or digits of other scripts."""
    assert not is_uid(value)


@pytest.mark.parametrize(("value", "regular"), [("1.2.840.0", True), ("1.2.0840", False), ("00", False), ("1.", False)])
def test_a_regular_uid_has_no_leading_zeros(value: str, regular: bool) -> None:
    assert is_regular_uid(value) is regular
