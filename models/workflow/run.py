"""A resident bundle: its workflow made once, run on the volumes of many patients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.inferers.inferer import SaliencyInferer, SlidingWindowInferer
from monai.transforms.compose import Compose
from torch import Tensor, nn

from models.contract import InputBlock
from models.workflow import rules
from models.workflow.answers import PREDICTION, Reader, as_prediction, refuse_not_numbers
from models.workflow.config import Parts, make_parts
from models.workflow.confined.foreign import foreign
from models.workflow.confined.guard import run_guarded
from models.workflow.confined.scripts import Scripts
from models.workflow.explanation import Explainer
from models.workflow.installing.bundle import WorkflowBundle
from models.workflow.pythonic import make_pythonic_parts
from models.workflow.volumes.grids import Grids
from models.workflow.volumes.image import projection_affine, ras_affine, same_grid, spatial
from models.workflow.volumes.reader import InMemory
from models.workflow.volumes.windows import labels_by_planes, reducing_steps
from models.workflow.weights import read_script, read_state
from pipeline.errors import BadModel, BadPixels, MissingSeries, MixedGeometry
from pipeline.findings.answers import Answer
from pipeline.geometry.volume import Volume
from pipeline.ports import Progress

WINDOWS = 16
"""The number of windows after which the workflow reports its progress."""


class ResidentWorkflow:
    """The workflow of ``bundle`` on ``device``, loaded. ``time_limit``: seconds for loading, and for each run.

    Raises
    ------
    BadModel
        where its configuration makes no network, its weights do not fit, it needs a package that is not installed, or
        its code tries what a bundle may not do (`models.workflow.confined.guard`).
    """

    def __init__(self, bundle: WorkflowBundle, device: torch.device, time_limit: float | None = None) -> None:
        self.bundle = bundle
        self._limit = time_limit
        self.device = device
        self._where = str(bundle.folder)
        self._scripts = Scripts(bundle.folder)
        weights = bundle.contract.weights
        states = {item.into: read_state(bundle.folder, item) for item in weights if not item.file.endswith(".ts")}
        torch.zeros(1, device=device)  # a driver starts in this thread, which may do what it needs

        def make(_tell: Progress) -> Parts:
            with self._scripts.importable():
                scripts = [item for item in weights if item.file.endswith(".ts")]
                scripted = {item.into: read_script(bundle.folder, item, device) for item in scripts}
                if bundle.contract.workflow is None:
                    return make_parts(bundle.folder, device, states=states, scripted=scripted)
                return make_pythonic_parts(
                    bundle.contract.workflow, bundle.folder, device, states=states, scripted=scripted
                )

        self.parts = run_guarded(make, self._where, limit=time_limit)
        self._reducing = reducing_steps(self.parts.inferer, self.parts.postprocessing)
        block = getattr(bundle.contract.answer, "explanation", None)
        self._explainer = (
            None if block is None else Explainer(self.parts.network, self.parts.inferer, block, device, self._where)
        )

    def run(self, inputs: Mapping[str, Volume], progress: Progress = lambda _stage: None) -> Answer:
        """The bundle's answer for ``inputs``, a volume for each channel of its contract, by the channel's name.

        Volumes of one input must share a grid. Their arrays are not changed.

        Raises
        ------
        MissingSeries
            where a channel has no volume.
        MixedGeometry
            where two channels of one input have different grids.
        BadPixels
            where a volume holds values that are not numbers.
        OutOfResources
            where memory ran out.
        BadModel
            where the bundle fails, does what it may not, or gives what its contract does not say.
        """
        blocks = self.bundle.contract.inputs
        main = self.bundle.contract.main
        data = {block.key: self._input(block, inputs) for block in blocks}
        source = inputs[main.channels[0].name]

        def work(tell: Progress) -> Answer:
            explains = isinstance(self.parts.inferer, SaliencyInferer)  # which asks for gradients
            with self._scripts.importable(), torch.inference_mode(mode=not explains):
                return self._answer(dict(data), main, source, tell)

        return run_guarded(work, self._where, progress, self._limit)

    def _answer(self, data: dict[str, Any], main: InputBlock, source: Volume, tell: Progress) -> Answer:
        tell("preprocessing")
        with foreign("preprocessing", self._where):
            data = self._preprocessed(data)
        image = data.get(main.key)
        if not isinstance(image, Tensor):
            raise BadModel(
                f"The bundle's preprocessing gives no tensor as {main.key!r}.",
                where=self._where,
                todo="Name the input in candela.json as the bundle's transforms do.",
            )
        found, remaining = self._inferred(image, tell)
        tell("postprocessing")
        with foreign("postprocessing", self._where):
            data = self._postprocessed(data, image, found, remaining)
        del found
        grids = Grids(
            source=source,
            projection=main.kind == "projection",
            image=image,
            key=main.key,
            preprocessing=self.parts.preprocessing,
            inverts=rules.inverts(self.parts.postprocessing),
            where=self._where,
        )
        answer = Reader(self.bundle, grids, rules.box_mode(self.parts.postprocessing)).answer(data)
        if self._explainer is None:
            return answer
        tell("explanation")
        return self._explainer.explained(answer, grids)

    def _input(self, block: InputBlock, inputs: Mapping[str, Volume]) -> InMemory:
        missing = [channel.name for channel in block.channels if channel.name not in inputs]
        if missing:
            raise MissingSeries(
                f"There is no series for {', '.join(missing)}.",
                where=self._where,
                todo="Send the series that the model needs, or correct the rule of choice in its candela.json.",
            )
        volumes = tuple(inputs[channel.name] for channel in block.channels)
        projection = block.kind == "projection"
        affine = projection_affine if projection else ras_affine
        shapes = [tuple(spatial(volume, projection=projection).shape) for volume in volumes]
        for channel, volume, shape in zip(block.channels, volumes, shapes, strict=True):
            if projection and len(volume.array) != 1:
                raise MixedGeometry(
                    f"{channel.name} is a stack of {len(volume.array)} images; the model takes a projection.",
                    where=self._where,
                    todo="Send one image.",
                )
            if not same_grid(shape, affine(volume), shapes[0], affine(volumes[0])):
                raise MixedGeometry(
                    f"{channel.name} has another grid than {block.channels[0].name}.",
                    where=self._where,
                    todo="Bring the series onto one grid first: the model takes them as channels of one image.",
                )
            if not bool(np.isfinite(volume.array).all()):
                raise BadPixels(
                    f"The pixel values of {channel.name} are not all numbers.",
                    todo="Look at the images' rescale slope and at their values.",
                )
        return InMemory(volumes, projection, block.repeat, rules.channel_dim(self.parts.preprocessing))

    def _preprocessed(self, data: dict[str, Any]) -> dict[str, Any]:
        if not rules.loads(self.parts.preprocessing):
            data = {key: _loaded(item) for key, item in data.items()}
        made = self.parts.preprocessing(data) if self.parts.preprocessing else data
        return dict(made)

    def _inferred(self, image: Tensor, tell: Progress) -> tuple[Any, Any]:
        """What the inferer gives for ``image`` (C, X, Y, Z) as a batch of one, and the postprocessing that remains.

        A sliding window takes its windows to the device itself; the whole image stays in main memory. Where the
        postprocessing begins by choosing one label a voxel, that is done by plane (`models.workflow.volumes.windows`).
        """
        tell("inference")
        batch = image.as_subclass(Tensor)[None]
        if not isinstance(self.parts.inferer, SlidingWindowInferer):
            batch = batch.to(self.device)
        amp = self.parts.amp and self.device.type == "cuda"
        with ExitStack() as stack:
            if not isinstance(self.parts.network, torch.jit.ScriptModule):  # which takes no hooks
                hook = self.parts.network.register_forward_hook(_counting(tell))
                stack.callback(hook.remove)
            stack.enter_context(foreign("network", self._where))
            stack.enter_context(torch.autocast(self.device.type, enabled=amp))
            if self._reducing and batch.ndim == 5:
                reduce = Compose(self._reducing)

                def labelled(part: Tensor) -> Tensor:
                    refuse_not_numbers(part, PREDICTION, self._where)
                    chosen: Tensor = reduce({PREDICTION: part})[PREDICTION]
                    return chosen

                labels = labels_by_planes(self.parts.inferer, batch, self.parts.network, labelled)
                if labels is not None:
                    steps = rules.flat(self.parts.postprocessing)
                    return labels[None], Compose(steps[len(self._reducing) :])
            found = self.parts.inferer(batch, self.parts.network)
        if isinstance(found, Tensor):  # the choice of a label would hide it
            refuse_not_numbers(found[0], PREDICTION, self._where)
        return found, self.parts.postprocessing

    def _postprocessed(self, data: dict[str, Any], image: Tensor, found: Any, remaining: Any) -> dict[str, Any]:
        if isinstance(found, list | tuple) and len(found) == 1 and isinstance(found[0], Mapping):
            data = {**data, **found[0]}  # a detector: one dict an image
        elif isinstance(found, Tensor):
            data = {**data, PREDICTION: as_prediction(found[0].float().cpu(), image)}
        elif isinstance(found, Mapping):
            data = {**data, **{key: as_prediction(value[0].float().cpu(), image) for key, value in found.items()}}
        else:
            raise TypeError(f"the network gives a {type(found).__name__}, where a tensor or a dict is wanted")
        made = remaining(data) if remaining else data
        return dict(made)


def _loaded(item: InMemory) -> Tensor:
    """An image, channels first, for a bundle whose preprocessing loads none."""
    affine = projection_affine(item.volumes[0]) if item.projection else ras_affine(item.volumes[0])
    channels = [spatial(volume, projection=item.projection) for volume in item.volumes] * item.repeat
    return MetaTensor(torch.from_numpy(np.stack(channels)), affine=torch.from_numpy(affine))


def _counting(tell: Progress) -> Callable[[nn.Module, Any, Any], None]:
    """A forward hook that tells, now and then, how many windows the network has read."""
    seen = 0

    def hook(_module: nn.Module, _inputs: Any, _output: Any) -> None:
        nonlocal seen
        seen += 1
        if seen % WINDOWS == 0:
            tell(f"inference, {seen} windows")

    return hook
