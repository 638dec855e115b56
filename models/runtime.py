"""A resident model: loaded once, used many times."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import structlog
import torch
from monai.data.meta_tensor import MetaTensor
from pydicom.dataset import Dataset
from scipy.ndimage import label
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.anatomy import TODO, Likeness, refuse_bare_brain, refuse_other_anatomy
from models.bundle import Bundle, Contract
from models.explain import Explainer
from models.layers import Layers, layers
from models.loading import RESTORE, build, explained_layer
from models.registry import get
from models.series import CONNECTIVITY, SeriesAnswer, SlabAnswers, aggregate
from models.workflow.installing.bundle import WorkflowBundle
from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import BadModel, BadPixels, BadSettings, OutOfScope
from pipeline.findings.model import BoolArray, ClassProbability, FloatArray, ModelIdentity, Outcome, Prediction
from pipeline.geometry.volume import Volume
from pipeline.ports import SeriesModel
from pipeline.preprocess.sampling import Sampling
from pipeline.routing.protocol import check_protocol

log = structlog.get_logger("candela.models")
Device = Literal["auto", "cpu", "cuda"]
MOST_EXPLAINED = 12
"""Most slabs for Grad-CAM, the strongest first: it costs three times the answer itself."""
LEAST_HEAD = 0.05
"""Least share of a slab above the background for it to show a head."""
MOST_VOXELS = 600_000_000
"""Most voxels: a series of 2,000 slices of 512² has 524 million, and an answer takes 15 bytes of memory for each,
besides the volume."""


def load_model(
    name: str, *, folders: Iterable[Path] = (), device: Device = "auto", time_limit: float | None = None
) -> SeriesModel:
    """The model called ``name``, verified, its weights in memory. ``time_limit`` in seconds is for a bundle's own
    workflow: for loading it, and for each run.

    Raises
    ------
    BadModel
        where the bundle is absent, broken, or its weights do not fit its network.
    BadSettings
        where ``device`` is ``cuda`` and no GPU is present.
    """
    bundle = get(name, folders).found
    for note in bundle.notes:
        log.warning("model_made_with_other_versions", model=bundle.name, note=note)
    chosen = choose_device(device, cuda=torch.cuda.is_available())
    if isinstance(bundle, WorkflowBundle):
        from models.workflow.model import WorkflowModel  # noqa: PLC0415 - MONAI's transforms, for such bundles alone

        return WorkflowModel(bundle, chosen, time_limit)
    return ResidentModel(bundle, chosen)


def choose_device(wanted: Device, *, cuda: bool) -> torch.device:
    """The device: ``auto`` takes CUDA where torch finds it, the CPU otherwise.

    Raises
    ------
    BadSettings
        where CUDA is requested and no GPU is present.
    """
    if wanted == "cuda" and not cuda:
        raise BadSettings(
            "CUDA is requested and torch finds no CUDA device.",
            where="models.device",
            todo='Set it to "auto" or "cpu", or install the driver and a CUDA build of torch.',
        )
    return torch.device("cuda" if cuda and wanted != "cpu" else "cpu")


class ResidentModel:
    """A `pipeline.ports.SeriesModel` from one bundle."""

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        self._bundle = bundle
        self.contract = bundle.contract
        self._device = device
        self._bf16 = device.type == "cuda" or bundle.contract.bf16_on_cpu
        network, self.workflow = build(bundle, device)
        self.network = channels_last(norms_folded(network).to(device))
        self._layer = explained_layer(bundle)
        self.explainer = Explainer(self.network, self._layer)
        anatomy = bundle.contract.anatomy
        self._likeness = Likeness(bundle, anatomy, device) if anatomy else None
        self._try_out()

    def asking(self, network: nn.Module) -> ResidentModel:
        """The same model with another network of the same outputs, such as one member of a committee."""
        other = copy.copy(self)
        other.network, other.explainer = network, Explainer(network, self._layer)
        return other

    @property
    def identity(self) -> ModelIdentity:
        return self._bundle.identity

    @property
    def classes(self) -> tuple[str, ...]:
        return self.contract.classes

    def check(self, header: Dataset) -> tuple[Caveat, ...]:
        """Caveats for a series with this header; raises UnsupportedModality or UnsupportedProtocol."""
        return check_protocol(header, self.contract.protocol)

    def predict(self, volume: Volume) -> Prediction:
        """The answer for ``volume``; raises OutOfScope or BadModel (see `pipeline.ports.SeriesModel`)."""
        _refuse_too_large(volume)
        image, plan = self.workflow.prepared(volume)
        inputs = _slabs(image)
        if not bool(torch.isfinite(inputs).all()):
            raise BadPixels(
                "The pixel values are too large to be averaged.",
                todo="Look at the images' rescale slope and at their values.",
            )
        surroundings = self._refuse_other_things(volume, plan, inputs)
        answers = self.answers(inputs)
        self._refuse_no_head(inputs, answers, surroundings)
        slab_mm = volume.spacing[0] * len(volume.array) / len(plan.slabs)
        answer = aggregate(answers, self.contract, slab_mm)
        region = torch.from_numpy(np.where(answer.region, answers.mask, 0.0).astype(np.float32))
        mask = without_specks(
            self.workflow.on_source(region[:, None], image) >= self.contract.thresholds.mask,
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
            heatmap=self._heatmap(image, answer),
            key_slice=_key_slice(plan, mask, answer),
            caveats=_caveats(volume, answer, self.contract),
        )

    def inputs(self, volume: Volume) -> tuple[Tensor, Sampling]:
        """What the network reads of ``volume``, (slabs, 1, M, M), normalised, and how its slabs were cut."""
        image, plan = self.workflow.prepared(volume)
        return _slabs(image), plan

    def answers(self, inputs: Tensor) -> SlabAnswers:
        """Run the workflow's inferer and postprocessing on normalised inputs (n, 1, M, M).

        Raises
        ------
        BadModel
            where the network returns NaN or another shape than in the contract, or the postprocessing no probabilities.
        """
        with torch.inference_mode():
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
                said = self.workflow.inferer(inputs.transpose(0, 1)[None].to(self._device), self.network)
            outputs = {name: value[0].float().cpu() for name, value in self._checked(said, inputs).items()}
            if not all(bool(torch.isfinite(value).all()) for value in outputs.values()):
                raise self._broken("The network gave a value that is not a number.")
            found = self.workflow.post(outputs)
        return SlabAnswers(
            probabilities=np.ascontiguousarray(found["classes"].numpy().T),
            mask=found["mask"][0].numpy(),
            head=found["head"][0].numpy() if "head" in found else None,
        )

    def _checked(self, said: Any, inputs: Tensor) -> dict[str, Tensor]:
        """The outputs ``said`` for ``inputs`` by their names, checked to have the shapes of the contract."""
        slabs, _, matrix, _ = inputs.shape
        expected = {"classes": (1, len(self.classes), slabs), "mask": (1, 1, slabs, matrix, matrix)}
        if self.contract.outputs.head:
            expected["head"] = (1, 1, slabs)
        given = [said] if isinstance(said, Tensor) else list(said)
        found = [tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__ for value in given]
        if found != list(expected.values()):
            raise self._broken(
                f"The network's output has another shape than its contract says: {found}, {list(expected.values())}."
            )
        return dict(zip(expected, given, strict=True))

    def _try_out(self) -> None:
        """Run two empty slices (a 3D network could take one for a volume), so that a mismatch shows now and not at the
        first patient.
        """
        matrix = self.contract.recipe.matrix
        empty = torch.zeros(2, 1, matrix, matrix)
        try:
            self.answers(empty)
            self._try_postprocessing()
            heat = self.explainer.class_activation(empty.to(self._device), 0)
        except BadModel:
            raise
        except Exception as error:  # a bundle's network is foreign code and may raise anything
            raise self._broken(f"The network does not take slices of {matrix}²: {error}.") from error
        if heat.shape != empty.shape:
            raise self._broken(f"Layer {self.contract.grad_cam_layer} gives no heat map (candela.grad_cam_layer).")

    def _try_postprocessing(self) -> None:
        """Results state the contract's temperature: the postprocessing must give the probabilities that it makes."""
        logits = torch.linspace(-2.0, 2.0, len(self.classes))[:, None]
        outputs = {"classes": logits, "mask": torch.zeros(1, 1, 2, 2)}
        if self.contract.outputs.head:
            outputs["head"] = torch.zeros(1, 1)
        expected = torch.softmax(logits / self.contract.temperature, dim=0)
        if not torch.allclose(self.workflow.post(outputs)["classes"], expected, atol=1e-4):
            raise self._broken("The postprocessing gives other probabilities than candela.temperature says.")

    def _refuse_other_things(self, volume: Volume, plan: Sampling, inputs: Tensor) -> Layers | None:
        """Refuse an object without a head's size or, if the bundle tests it, anatomy; returns its surroundings."""
        outstanding = _outstanding(inputs)
        shown = _shown(outstanding)
        if not len(shown):
            raise OutOfScope("The images show nothing: no head stands out from the background.", todo=TODO)
        widths = [_width(outstanding[k]) * self.contract.recipe.pixel_mm for k in shown]
        least, most = self.contract.thresholds.head_mm
        if not least <= max(widths) <= most:
            raise OutOfScope(
                f"What the images show is {max(widths):.0f} mm wide; a head is {least:.0f} to {most:.0f} mm.", todo=TODO
            )
        if not (self._likeness and self.contract.anatomy):
            return None
        slabs = (inputs[:, 0] - inputs.flatten(1).amin(1).view(-1, 1, 1)).numpy()
        surroundings = layers(
            slabs, self.contract.recipe.pixel_mm, picture=plan.fit.filled, source_mm=max(volume.spacing[1:])
        )
        refuse_other_anatomy(surroundings, self._likeness.distances(inputs[shown]), self.contract.anatomy)
        return surroundings

    def _refuse_no_head(self, inputs: Tensor, answers: SlabAnswers, surroundings: Layers | None) -> None:
        """Refuse a series that the network does not recognise as slices through a head, whatever its header states."""
        least = self.contract.thresholds.head
        if answers.head is None or least is None:
            return
        likeness = float(np.median(answers.head[_shown(_outstanding(inputs))]))
        if likeness < least:
            if surroundings and self.contract.anatomy:
                refuse_bare_brain(surroundings, self.contract.anatomy)
            raise OutOfScope(
                f"The images do not look like slices through a head (probability {likeness:.2f}).", todo=TODO
            )

    def _heatmap(self, image: MetaTensor, answer: SeriesAnswer) -> FloatArray:
        """Grad-CAM of the predicted class on the source pixels, 0..1 over the volume, on the slabs that matter."""
        inputs = _slabs(image)
        area = answer.region.sum(axis=(1, 2)).astype(np.float64)
        weight = area if area.any() else answer.evidence + 1e-6
        chosen = np.sort(np.argsort(-weight, kind="stable")[:MOST_EXPLAINED])
        chosen = chosen[weight[chosen] > 0]
        maps = torch.zeros(inputs.shape)
        images = inputs[chosen].to(self._device).contiguous(memory_format=torch.channels_last)
        maps[chosen] = self.explainer.class_activation(images, answer.predicted).cpu()
        heat = np.clip(np.nan_to_num(self.workflow.on_source(maps, image)), 0.0, None)
        top = float(heat.max())
        return heat / top if top > 0 else heat

    def _broken(self, what: str) -> BadModel:
        return BadModel(what, where=str(self._bundle.folder), todo=RESTORE)


def _slabs(image: MetaTensor) -> Tensor:
    """The stack (1, slabs, M, M) as a batch of slices (slabs, 1, M, M)."""
    return image.as_subclass(Tensor).transpose(0, 1)


def norms_folded(network: nn.Module) -> nn.Module:
    """``network``, in eval, with each batch norm that follows a convolution in a sequence folded into it."""
    for part in list(network.modules()):
        if isinstance(part, nn.Sequential):
            for k, (first, second) in enumerate(pairwise(list(part))):
                if type(first) is nn.Conv2d and isinstance(second, nn.BatchNorm2d):
                    part[k], part[k + 1] = fuse_conv_bn_eval(first, second), nn.Identity()
    return network


def channels_last(network: nn.Module) -> nn.Module:
    """``network`` with its weights laid out channels last: several times faster on a CPU."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def _key_slice(plan: Sampling, mask: BoolArray, answer: SeriesAnswer) -> int:
    """The plane to look at first: one with a large outline where the network is sure of a tumour."""
    if not mask.any():
        return plan.plane_of(answer.slab)
    evidence = np.interp(np.arange(len(mask)), plan.centres, answer.evidence)
    return int(np.argmax(mask.sum(axis=(1, 2)) * evidence**2))


def without_specks(mask: BoolArray, least: int) -> BoolArray:
    """``mask`` without connected regions of fewer than ``least`` voxels; the largest region always stays.

    Resampling to the source pixels can split the rim of a region into crumbs.
    """
    labels, count = label(mask, structure=CONNECTIVITY)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    kept: BoolArray = (sizes >= min(least, sizes.max()))[labels] & mask
    return kept


def _outstanding(inputs: Tensor) -> BoolArray:
    """The pixels above the darkest values of each slab, (n, M, M)."""
    return np.asarray((inputs[:, 0] > inputs[:, 0].flatten(1).amin(1).view(-1, 1, 1) + 0.5).numpy())


def _shown(outstanding: BoolArray) -> npt.NDArray[np.intp]:
    """The slabs with enough content for a head."""
    return np.flatnonzero(outstanding.mean(axis=(1, 2)) >= LEAST_HEAD)


def _width(outstanding: np.ndarray[Any, np.dtype[np.bool_]]) -> float:
    """The shorter side, in pixels, of the box around the rows and columns with most of the content."""
    sides = []
    for axis in (0, 1):
        filled = np.flatnonzero(outstanding.mean(axis=axis) > 0.05)
        sides.append(float(filled[-1] - filled[0] + 1) if len(filled) else 0.0)
    return min(sides)


def _refuse_too_large(volume: Volume) -> None:
    voxels = volume.array.size
    if voxels > MOST_VOXELS:
        raise OutOfScope(
            f"The series has {voxels:,} voxels; at most {MOST_VOXELS:,} are read.",
            todo="Send a reconstruction of thicker slices or a smaller matrix.",
        )


def _caveats(volume: Volume, answer: SeriesAnswer, contract: Contract) -> tuple[Caveat, ...]:
    caveats = []
    broken = int((~np.isfinite(volume.array)).any(axis=(1, 2)).sum())
    if broken:
        caveats.append(Caveat(CaveatCode.VALUES_NOT_NUMBERS, {"some": broken, "all": len(volume.array)}))
    if answer.outcome is Outcome.INDETERMINATE:
        caveats.append(Caveat(CaveatCode.OUTCOME_UNCERTAIN))
    kinds = answer.probabilities[:-1]
    if answer.outcome is Outcome.FINDING and kinds.max() < 0.6 * kinds.sum():
        caveats.append(Caveat(CaveatCode.LESION_KIND_UNCERTAIN))
    if contract.outputs.segments:
        caveats.append(Caveat(CaveatCode.PROBABILITIES_NOT_CALIBRATED))
    if not contract.outputs.head:
        caveats.append(Caveat(CaveatCode.HEAD_NOT_CHECKED))
    return tuple(caveats)
