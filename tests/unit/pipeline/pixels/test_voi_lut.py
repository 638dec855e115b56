"""A table of grey values as a window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from pipeline.phantom_projection import Film, chest_film
from pipeline.pixels.voi_lut import with_window
from tests.shapes import reread


def table(data: np.ndarray, first: int = 0, bits: int = 16) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(data), first, bits]
    item.add_new("LUTData", "OW", data.astype("<u2").tobytes())
    return item


def film(*tables: Any, **values: Any) -> Dataset:
    ds = chest_film(film=Film((20, 15)))
    del ds.WindowCenter, ds.WindowWidth
    if tables:
        ds.VOILUTSequence = list(tables)
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def damaged(data: Any) -> Dataset:
    item = table(np.arange(100))
    item.add_new("LUTData", "UN" if isinstance(data, bytes) else "LO", data)
    return item


RAMP = np.concatenate([np.full(300, 10), np.linspace(10, 4000, 1000), np.full(700, 4000)])


@pytest.mark.parametrize("first", [0, 500])
def test_the_window_spans_the_part_of_the_table_that_rises(first: int) -> None:
    shown = with_window(reread(film(table(RAMP, first))))
    black, white = shown.WindowCenter - shown.WindowWidth / 2, shown.WindowCenter + shown.WindowWidth / 2
    assert black == pytest.approx(first + 300, abs=25)
    assert white == pytest.approx(first + 1300, abs=25)
    assert "PixelData" not in shown


def test_a_table_of_bytes_is_read() -> None:
    item = table(np.zeros(4))
    item.LUTDescriptor = [256, 0, 8]
    item.add_new("LUTData", "OW", np.clip(np.arange(256) * 2, 0, 255).astype("u1").tobytes())
    shown = with_window(film(item))
    assert (shown.WindowCenter, shown.WindowWidth) == pytest.approx((64, 124), abs=4)


def test_the_first_of_several_tables_counts() -> None:
    shown = with_window(film(table(RAMP), table(RAMP, 2000)))
    assert shown.WindowCenter < 1500


@pytest.mark.parametrize(
    "item",
    [table(RAMP[::-1]), table(np.full(100, 7)), table(RAMP[:1]), Dataset(), damaged(b"\0\1\2"), damaged("abc")],
    ids=["falls", "flat", "one entry", "empty", "half a value", "text"],
)
def test_a_table_without_a_window_leaves_the_header_as_it_is(item: Dataset) -> None:
    ds = film(item)
    assert with_window(ds) is ds


def test_a_window_that_is_stated_stays() -> None:
    ds = film(table(RAMP), WindowCenter="700", WindowWidth="300")
    assert with_window(ds) is ds
    assert with_window(film()).get("WindowCenter") is None
