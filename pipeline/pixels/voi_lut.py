"""A table of grey values (VOI LUT) as the window that comes nearest to it.

Radiographs often say by a table how they are to be displayed (PS3.3 C.11.2). It is not applied to the values that a
model reads. Pages and presentation states show images by a window, so they get one from the table.
"""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset

from pipeline.reading.attributes import items, numbers, values
from pipeline.reading.functional_groups import without_pixels
from pipeline.reading.validation import UNREADABLE

ENDS = (0.02, 0.98)
"""Shares of the table's range of grey between which the window lies: a table has long flat ends."""


def with_window(header: Dataset) -> Dataset:
    """``header``; where it has a VOI LUT and no window, a copy without pixels that has the window of the first table.

    A table that cannot be read gives no window.
    """
    tables = items(header, "VOILUTSequence")
    if not tables or values(header, "WindowCenter"):
        return header
    try:
        window = _window(tables[0])
    except UNREADABLE:  # no step needs it
        return header
    if window is None:
        return header
    shown = without_pixels(header)
    black, white = window
    # The LINEAR function, whose ends are not where one thinks: PS3.3 C.11.2.1.2.1.
    shown.add_new("WindowCenter", "DS", round((black + white) / 2 + 0.5, 6))
    shown.add_new("WindowWidth", "DS", round(white - black + 1, 6))
    return shown


def _window(table: Dataset) -> tuple[float, float] | None:
    """Modality values that the table shows nearly black and nearly white; None where it cannot be read, or falls."""
    descriptor = numbers(table, "LUTDescriptor", 3)
    found = table.get("LUTData")
    if descriptor is None or found is None:
        return None
    cells = "u1" if descriptor[2] <= 8 and isinstance(found, bytes) and len(found) < 2 * descriptor[0] else "<u2"
    data = np.frombuffer(found, cells) if isinstance(found, bytes) else np.asarray(found, dtype=np.int64)
    if data.ndim != 1 or len(data) < 2 or data[-1] <= data[0]:
        return None
    first = int(descriptor[1])
    share = (data - data[0]) / float(data[-1] - data[0])
    black, white = (int(np.argmax(share >= end)) for end in ENDS)
    return (float(first + black), float(first + white)) if white > black else None
