"""Labelled arrays that count how much of them is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy import ndimage


@dataclass
class Seen:
    """How many elements of watched labels went through numpy's functions, element by element."""

    elements: int = 0


def watched_labels(monkeypatch: pytest.MonkeyPatch, module: str) -> Seen:
    """Let ``module``'s ``label`` give labels that count how often their elements are read by a ufunc."""
    seen = Seen()

    class Watched(np.ndarray[Any, np.dtype[np.int32]]):
        def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **how: Any) -> Any:
            plain = [item.view(np.ndarray) if isinstance(item, Watched) else item for item in inputs]
            seen.elements += sum(item.size for item in inputs if isinstance(item, Watched))
            return getattr(ufunc, method)(*plain, **how)

    def label(mask: Any, **how: Any) -> tuple[Any, int]:
        labels, count = ndimage.label(mask, **how)
        return labels.view(Watched), count

    monkeypatch.setattr(f"{module}.label", label)
    return seen
