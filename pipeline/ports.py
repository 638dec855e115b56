"""What the core asks of the packages around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from pipeline.findings import ModelIdentity, Prediction
from pipeline.volume import Volume

if TYPE_CHECKING:
    from pipeline.report_facts import ReportFacts

Progress = Callable[[str], None]
"""Called with the name of each stage as it starts."""


@dataclass(frozen=True)
class ResultObject:
    """One DICOM object made for a series.

    ``role`` is its kind (see `pipeline.results.profile.ObjectKind`); ``filename`` is unique within the run. ``preview``
    is what a reader would see, uint8 (rows, columns, 3) RGB, for objects that are pictures. ``profiles`` are the names
    of the profiles whose destinations get it.
    """

    role: str
    filename: str
    dataset: Dataset
    preview: npt.NDArray[np.uint8] | None = None
    profiles: tuple[str, ...] = ()


class SeriesModel(Protocol):
    """A loaded model: header check first, then voxels."""

    @property
    def identity(self) -> ModelIdentity: ...

    @property
    def classes(self) -> tuple[str, ...]:
        """The model card's class names, in the order of the network's output."""
        ...

    def check(self, header: Dataset) -> tuple[str, ...]:
        """Caveats for a series with this header (pixel data not needed).

        Raises
        ------
        UnsupportedModality, UnsupportedProtocol
            where the bundle's contract does not take the series.
        """
        ...

    def predict(self, volume: Volume) -> Prediction:
        """The answer for ``volume``.

        Raises
        ------
        OutOfScope
            where the pixels do not show what the model was validated on.
        BadModel
            where the network gave NaN or the wrong shape.
        """
        ...


class ReportBuilder(Protocol):
    """Turns a run's facts, and its page as PDF, into a FHIR transaction Bundle (JSON-ready dict)."""

    def __call__(self, facts: ReportFacts, /, *, pdf: bytes | None = None) -> dict[str, Any]: ...
