"""A bundle's own workflow as a model of the pipeline: one series in, or one for each channel; its answer out."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydicom.dataset import Dataset

from models.workflow.installing.bundle import WorkflowBundle
from models.workflow.run import ResidentWorkflow
from pipeline.caveats import Caveat
from pipeline.findings.answers import Answered
from pipeline.findings.model import ModelIdentity
from pipeline.geometry.volume import Volume
from pipeline.routing.channels import Channel
from pipeline.routing.views import ViewRule


class WorkflowModel:
    """A `pipeline.ports.SeriesModel` whose answers are those of a bundle's workflow.

    Raises
    ------
    BadModel
        as `models.workflow.run.ResidentWorkflow`.
    """

    def __init__(self, bundle: WorkflowBundle, device: torch.device, time_limit: float | None = None) -> None:
        self.bundle = bundle
        self._workflow = ResidentWorkflow(bundle, device, time_limit)
        self._first = bundle.contract.channels[0]

    @property
    def identity(self) -> ModelIdentity:
        return self.bundle.identity

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the structures, classes or quantities."""
        return tuple(item.name for item in self.bundle.concepts)

    def check(self, header: Dataset) -> tuple[Caveat, ...]:
        """Caveats for a series with this header; raises UnsupportedModality or UnsupportedProtocol."""
        return self.bundle.scope.check(header)

    def predict(self, volume: Volume) -> Answered:
        """The answer for ``volume``; raises as `models.workflow.run.ResidentWorkflow.run`."""
        return self.predict_channels({self._first.name: volume})

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What each channel takes, where several series are read."""
        return self.bundle.channels

    @property
    def view_rules(self) -> tuple[ViewRule, ...]:
        """Which radiograph fills each channel, where several are read."""
        return self.bundle.view_rules

    def predict_channels(self, volumes: Mapping[str, Volume]) -> Answered:
        """The answer for ``volumes``, by the channel's name; raises as `models.workflow.run.ResidentWorkflow.run`."""
        return Answered(self._workflow.run(volumes), self.bundle.contract.report.key_image)
