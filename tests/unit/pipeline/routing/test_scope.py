"""Which series a MONAI bundle takes, by the header."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from pipeline import phantom
from pipeline.caveats import CaveatCode
from pipeline.errors import UnsupportedModality, UnsupportedProtocol
from pipeline.routing.scope import Scope, check_scope


def header(**values: str) -> Dataset:
    """A T1-weighted series of the head, with ``values`` in place of its own."""
    ds = phantom.head_phantom(slices=1, matrix=16)[0]
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def test_an_empty_list_admits_anything() -> None:
    assert check_scope(header(Modality="PT", BodyPartExamined="FOOT"), Scope(("CT", "PT"))) == ()


def test_another_modality_is_refused() -> None:
    with pytest.raises(UnsupportedModality, match="MR; the model takes CT or PT"):
        check_scope(header(), Scope(("CT", "PT")))


@pytest.mark.parametrize(
    ("values", "scope", "match"),
    [
        ({"BodyPartExamined": "FOOT"}, Scope(("MR",), body_parts=("HEAD", "BRAIN")), "FOOT; the model takes HEAD or B"),
        (
            {"ViewPosition": "LL"},
            Scope(("MR",), views=("PA", "AP")),
            "ViewPosition LL; the model takes ViewPosition PA or AP",
        ),
        ({}, Scope(("MR",), weightings=("T2",)), "T1-weighted; the model takes T2"),
    ],
)
def test_what_the_header_speaks_against_is_refused(values: dict[str, str], scope: Scope, match: str) -> None:
    with pytest.raises(UnsupportedProtocol, match=match):
        check_scope(header(**values), scope)


def test_what_the_header_leaves_open_is_a_caveat() -> None:
    scope = Scope(("MR",), body_parts=("HEAD",), weightings=("T1",), views=("PA",), contrast_expected=True)
    caveats = check_scope(header(BodyPartExamined="", ContrastBolusAgent=""), scope)
    assert [item.code for item in caveats] == [
        CaveatCode.BODY_PART_ABSENT,
        CaveatCode.VIEW_POSITION_ABSENT,
        CaveatCode.CONTRAST_AGENT_ABSENT,
    ]


def test_a_series_within_the_scope_has_no_caveat() -> None:
    scope = Scope(("MR",), body_parts=("BRAIN",), weightings=("T1",), contrast_expected=True)
    assert check_scope(header(), scope) == ()
