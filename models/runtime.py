"""A resident model: loaded once, asked many times."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from monai.bundle.config_parser import ConfigParser
from pydicom.dataset import Dataset
from safetensors import SafetensorError
from safetensors.torch import load_file
from scipy.ndimage import label
from torch import Tensor, nn

from models.bundle import Bundle
from models.explain import Explainer
from models.registry import get
from models.series import CONNECTIVITY, SeriesAnswer, SlabAnswers, aggregate
from pipeline.errors import BadModel, BadSettings, OutOfScope
from pipeline.findings import BoolArray, ClassProbability, FloatArray, ModelIdentity, Outcome, Prediction
from pipeline.ports import SeriesModel
from pipeline.preprocess import Sampling, sampling
from pipeline.protocol import check_protocol
from pipeline.volume import Volume

Device = Literal["auto", "cpu", "cuda"]
BATCH = 16
MOST_EXPLAINED = 12
"""Grad-CAM is taken on at most so many slabs, the strongest first: it costs three times the answer itself."""
LEAST_HEAD = 0.05
"""Share of a slab that stands out from the background from which it can show a head."""


def load_model(name: str, *, folders: Iterable[Path] = (), device: Device = "auto") -> SeriesModel:
    """The model called ``name``, verified, its weights in memory.

    Raises
    ------
    BadModel
        where the bundle is absent, broken, or its weights do not fit its network.
    BadSettings
        where ``device`` is ``cuda`` and there is none.
    """
    return ResidentModel(get(name, folders).bundle, choose_device(device, cuda=torch.cuda.is_available()))


def choose_device(wanted: Device, *, cuda: bool) -> torch.device:
    """Where to run: ``auto`` takes CUDA where torch sees it (``cuda``), the CPU otherwise.

    Raises
    ------
    BadSettings
        where CUDA is wanted and there is none.
    """
    if wanted == "cuda" and not cuda:
        raise BadSettings(
            "CUDA is wanted and torch sees no CUDA device.",
            where="models.device",
            todo='Set it to "auto" or "cpu", or install the driver and a CUDA build of torch.',
        )
    return torch.device("cuda" if cuda and wanted != "cpu" else "cpu")


class ResidentModel:
    """A `pipeline.ports.SeriesModel` over one bundle."""

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        self._bundle = bundle
        self.contract = bundle.contract
        self._device = device
        self._bf16 = device.type == "cuda" or bundle.contract.bf16_on_cpu
        self.network = channels_last(build_network(bundle).to(device))
        self.explainer = Explainer(self.network)

    @property
    def identity(self) -> ModelIdentity:
        return self._bundle.identity

    @property
    def classes(self) -> tuple[str, ...]:
        return self.contract.classes

    def check(self, header: Dataset) -> tuple[str, ...]:
        """Caveats for a series with this header; raises UnsupportedModality or UnsupportedProtocol."""
        return check_protocol(header, self.contract.protocol)

    def predict(self, volume: Volume) -> Prediction:
        """The answer for ``volume``; raises OutOfScope or BadModel (see `pipeline.ports.SeriesModel`)."""
        plan = sampling(volume, self.contract.recipe)
        inputs = plan.inputs(volume.array)
        answers = self.answers(inputs)
        self._refuse_no_head(inputs, answers)
        slab_mm = volume.spacing[0] * len(volume.array) / len(plan.slabs)
        answer = aggregate(answers, self.contract, slab_mm)
        region = torch.from_numpy(np.where(answer.region, answers.mask, 0.0).astype(np.float32))
        mask = without_specks(
            plan.to_source(region[:, None]) >= self.contract.thresholds.mask,
            round(self.contract.thresholds.lesion_mm3 / volume.voxel_mm3),
        )
        return Prediction(
            outcome=answer.outcome,
            predicted_class=self.classes[answer.predicted],
            probabilities=tuple(
                ClassProbability(name, float(value))
                for name, value in zip(self.classes, answer.probabilities, strict=True)
            ),
            mask=mask,
            heatmap=self._heatmap(plan, inputs, answer),
            key_slice=_key_slice(plan, mask, answer),
            caveats=_caveats(volume, answer),
        )

    def answers(self, inputs: Tensor) -> SlabAnswers:
        """What the network says of normalised inputs (n, 1, M, M), in batches.

        Raises
        ------
        BadModel
            where it gives NaN or another shape than the contract says.
        """
        parts = []
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
            for images in torch.split(inputs, BATCH):
                classes, mask, head = self.network(
                    images.to(self._device).contiguous(memory_format=torch.channels_last)
                )
                expected = ((len(images), len(self.classes)), tuple(images.shape), (len(images),))
                if (tuple(classes.shape), tuple(mask.shape), tuple(head.shape)) != expected:
                    raise self._broken("The network's output has another shape than its contract says.")
                parts.append((classes.float() / self.contract.temperature, mask.float(), head.float()))
        classes, mask, head = (torch.cat([part[k] for part in parts]) for k in range(3))
        if not all(bool(torch.isfinite(value).all()) for value in (classes, mask, head)):
            raise self._broken("The network gave a value that is not a number.")
        return SlabAnswers(
            probabilities=torch.softmax(classes, dim=1).cpu().numpy(),
            mask=torch.sigmoid(mask)[:, 0].cpu().numpy(),
            head=torch.sigmoid(head).cpu().numpy(),
        )

    def _refuse_no_head(self, inputs: Tensor, answers: SlabAnswers) -> None:
        """Refuse a series whose pixels do not look like slices through a head, whatever its tags claim."""
        limits = self.contract.thresholds
        outstanding = (inputs[:, 0] > inputs[:, 0].flatten(1).amin(1).view(-1, 1, 1) + 0.5).numpy()
        shown = np.flatnonzero(outstanding.mean(axis=(1, 2)) >= LEAST_HEAD)
        todo = "Route only series of the head to this model; look at the images and their tags."
        if not len(shown):
            raise OutOfScope("The images show nothing: no head stands out from the background.", todo=todo)
        widths = [_width(outstanding[k]) * self.contract.recipe.pixel_mm for k in shown]
        least, most = limits.head_mm
        if not least <= max(widths) <= most:
            raise OutOfScope(
                f"What the images show is {max(widths):.0f} mm wide; a head is {least:.0f} to {most:.0f} mm.", todo=todo
            )
        likeness = float(np.median(answers.head[shown]))
        if likeness < limits.head:
            raise OutOfScope(
                f"The images do not look like slices through a head (probability {likeness:.2f}).", todo=todo
            )

    def _heatmap(self, plan: Sampling, inputs: Tensor, answer: SeriesAnswer) -> FloatArray:
        """Grad-CAM of the predicted class on the source pixels, 0..1 over the volume, on the slabs that matter."""
        area = answer.region.sum(axis=(1, 2)).astype(np.float64)
        weight = area if area.any() else answer.evidence + 1e-6
        chosen = np.sort(np.argsort(-weight, kind="stable")[:MOST_EXPLAINED])
        chosen = chosen[weight[chosen] > 0]
        maps = torch.zeros(inputs.shape)
        images = inputs[chosen].to(self._device).contiguous(memory_format=torch.channels_last)
        maps[chosen] = self.explainer.class_activation(images, answer.predicted).cpu()
        heat = np.clip(np.nan_to_num(plan.to_source(maps)), 0.0, None)
        top = float(heat.max())
        return heat / top if top > 0 else heat

    def _broken(self, what: str) -> BadModel:
        return BadModel(what, where=str(self._bundle.folder), todo="Restore the bundle from its release.")


def build_network(bundle: Bundle) -> nn.Module:
    """The network that ``configs/inference.json`` defines (as ``network_def``), with the bundle's weights, in eval.

    The file is a MONAI configuration: it can name any class and hold expressions, so it is code. Take bundles only
    from where you would take code.

    Raises
    ------
    BadModel
        where the configuration does not make a network, or the weights do not fit it.
    """
    where = str(bundle.inference)
    try:
        parser = ConfigParser()
        parser.read_config(str(bundle.inference))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            network: Any = parser.get_parsed_content("network_def")
            recipe: Any = parser.get_parsed_content("recipe")
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, ImportError) as error:
        raise BadModel("The bundle's configuration makes no network.", where=where, todo=f"Mend it: {error}") from error
    if not isinstance(network, nn.Module):
        raise BadModel("The bundle's network_def is no torch module.", where=where, todo="Mend it.")
    if recipe != bundle.contract.recipe:
        raise BadModel(
            "inference.json and metadata.json name different preprocessing.", where=where, todo="Make them equal."
        )
    try:
        weights = load_file(bundle.weights)
        network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in weights.items()})
    except (SafetensorError, RuntimeError) as error:
        text = str(error).splitlines()[0]
        raise BadModel(
            f"The weights do not fit the network: {text}", where=str(bundle.weights), todo="Restore the bundle."
        ) from error
    return network.eval().requires_grad_(requires_grad=False)


def channels_last(network: nn.Module) -> nn.Module:
    """``network`` with its weights laid out channels last: several times faster on a CPU."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def _key_slice(plan: Sampling, mask: BoolArray, answer: SeriesAnswer) -> int:
    """The plane to look at first: much outlined where the network is sure of a tumour, not a vague last slice."""
    if not mask.any():
        return plan.plane_of(answer.slab)
    evidence = np.interp(np.arange(len(mask)), plan.centres, answer.evidence)
    return int(np.argmax(mask.sum(axis=(1, 2)) * evidence**2))


def without_specks(mask: BoolArray, least: int) -> BoolArray:
    """``mask`` without connected regions of fewer than ``least`` voxels; the largest region always stays.

    On the way back to the source pixels the rim of a region can come apart into crumbs that nobody outlined.
    """
    labels, count = label(mask, structure=CONNECTIVITY)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    kept: BoolArray = (sizes >= min(least, sizes.max()))[labels] & mask
    return kept


def _width(outstanding: np.ndarray[Any, np.dtype[np.bool_]]) -> float:
    """The shorter side, in pixels, of the box around the rows and columns that hold a good part of what stands out."""
    sides = []
    for axis in (0, 1):
        filled = np.flatnonzero(outstanding.mean(axis=axis) > 0.05)
        sides.append(float(filled[-1] - filled[0] + 1) if len(filled) else 0.0)
    return min(sides)


def _caveats(volume: Volume, answer: SeriesAnswer) -> tuple[str, ...]:
    caveats = []
    broken = int((~np.isfinite(volume.array)).any(axis=(1, 2)).sum())
    if broken:
        caveats.append(f"{broken} of {len(volume.array)} planes hold values that are not numbers; they count as zero.")
    if answer.outcome is Outcome.INDETERMINATE:
        caveats.append("The answer is uncertain: no statement on a tumour is made.")
    kinds = answer.probabilities[:-1]
    if answer.outcome is Outcome.FINDING and kinds.max() < 0.6 * kinds.sum():
        caveats.append("The kind of the lesion is uncertain.")
    return tuple(caveats)
