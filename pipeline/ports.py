"""What the core asks of the packages around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from pydicom.dataset import Dataset

from pipeline.caveats import Caveat
from pipeline.findings.answers import Answered
from pipeline.findings.model import ModelIdentity, Prediction
from pipeline.geometry.volume import Volume
from pipeline.routing.channels import Channel
from pipeline.routing.views import ViewRule

Progress = Callable[[str], None]
"""Called with the name of each stage as it starts."""


class SeriesModel(Protocol):
    """A loaded model: header check first, then voxels."""

    @property
    def identity(self) -> ModelIdentity: ...

    @property
    def classes(self) -> tuple[str, ...]:
        """The model card's class names, in the order of the network's output."""
        ...

    def check(self, header: Dataset) -> tuple[Caveat, ...]:
        """Caveats for a series with this header (pixel data not needed).

        Raises
        ------
        UnsupportedModality, UnsupportedProtocol
            where the bundle's contract does not take the series.
        """
        ...

    def predict(self, volume: Volume) -> Prediction | Answered:
        """The answer for ``volume``: of a network that is read slab after slab, or of a bundle's own workflow.

        Raises
        ------
        OutOfScope
            where the pixels do not show what the model was validated on.
        BadModel
            where the network gave NaN or the wrong shape.
        """
        ...


@runtime_checkable
class ViewModel(SeriesModel, Protocol):
    """A loaded model that may read several radiographs of a study, each as a channel."""

    @property
    def view_rules(self) -> tuple[ViewRule, ...]:
        """Which image fills each channel, results refer to the first; empty for a model of one image."""
        ...

    def predict_channels(self, volumes: Mapping[str, Volume]) -> Answered:
        """The answer for ``volumes``, by the channel's name, each in its own plane; raises as `predict`."""
        ...


@runtime_checkable
class ChannelModel(SeriesModel, Protocol):
    """A loaded model that reads several series of a study, each as a channel."""

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What each channel takes; results refer to the images of the first."""
        ...

    def predict_channels(self, volumes: Mapping[str, Volume]) -> Answered:
        """The answer for ``volumes``, by the channel's name, all on one grid; raises as `predict`."""
        ...
