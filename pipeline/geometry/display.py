"""The usual display of planes, on pages and to networks: axial from below, front at the top; coronal and sagittal head
up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Planes = npt.NDArray[np.float32]

UPRIGHT: dict[int, tuple[tuple[int, float], tuple[int, float]]] = {
    0: ((2, -1.0), (1, 1.0)),  # sagittal: rows to the feet, columns to the back
    1: ((2, -1.0), (0, 1.0)),  # coronal: rows to the feet, columns to the patient's left
    2: ((1, 1.0), (0, 1.0)),  # axial: rows to the back, columns to the patient's left
}
"""By the patient axis nearest to a plane's normal: the axis and sign (LPS) that its rows follow, then its columns."""


@dataclass(frozen=True)
class Turn:
    """How a stored plane of ``shape`` (rows, columns) is shown: transposed first, then mirrored along ``flip``."""

    shape: tuple[int, int]
    transpose: bool = False
    flip: tuple[bool, bool] = (False, False)

    @classmethod
    def upright(cls, shape: tuple[int, int], down: Vector, across: Vector) -> Turn:
        """How a plane whose rows follow ``down`` and columns ``across`` (LPS) is shown as `UPRIGHT` says."""
        (row_axis, row_sign), (column_axis, column_sign) = UPRIGHT[int(np.argmax(np.abs(np.cross(across, down))))]
        straight = abs(across[column_axis]) + abs(down[row_axis]) >= abs(down[column_axis]) + abs(across[row_axis])
        rows, columns = (down, across) if straight else (across, down)
        return cls(
            shape, not straight, (bool(rows[row_axis] * row_sign < 0), bool(columns[column_axis] * column_sign < 0))
        )

    def image(self, planes: Planes) -> Planes:
        """``planes`` (..., rows, columns) as they are shown."""
        return self._mirrored(planes.swapaxes(-1, -2) if self.transpose else planes)

    def stored(self, shown: Planes) -> Planes:
        """The inverse of `image`."""
        turned = self._mirrored(shown)
        return turned.swapaxes(-1, -2) if self.transpose else turned

    def _mirrored(self, planes: Planes) -> Planes:
        return planes[..., :: -1 if self.flip[0] else 1, :: -1 if self.flip[1] else 1]

    def pixel(self, at: tuple[float, float]) -> tuple[float, float]:
        """Where the stored (row, column) ``at`` is shown."""
        place = at[::-1] if self.transpose else at
        size = self.shape[::-1] if self.transpose else self.shape
        row, column = (n - 1 - v if turned else v for v, n, turned in zip(place, size, self.flip, strict=True))
        return row, column

    def axes(self, rows: Vector, columns: Vector) -> tuple[Vector, Vector]:
        """What increasing rows and columns follow in the picture, of what they follow as stored."""
        first, second = (columns, rows) if self.transpose else (rows, columns)
        return first * (-1 if self.flip[0] else 1), second * (-1 if self.flip[1] else 1)
