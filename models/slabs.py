"""The workflow of a network that is read slab after slab: MONAI's parts, from the bundle's configuration.

A bundle whose preprocessing cuts slabs (`pipeline.preprocess.slabs.SampleSlabsd`) says itself how it is run. For any
other the three parts of `USUAL` stand in: contract 1 has always left the preprocessing to Candela, and what such a
bundle names is for another program.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from monai.bundle.config_parser import ConfigParser
from monai.data.meta_tensor import MetaTensor
from monai.inferers.inferer import Inferer
from monai.transforms.post.dictionary import Invertd
from torch import Tensor

from models.bundle import Bundle
from models.workflow import rules
from models.workflow.config import made
from models.workflow.confined.foreign import foreign
from models.workflow.volumes.image import as_image, ras_affine, same_grid, to_source
from models.workflow.volumes.reader import InMemory
from pipeline.errors import BadModel
from pipeline.geometry.volume import FloatArray, Volume
from pipeline.preprocess.recipe import Recipe
from pipeline.preprocess.sampling import Sampling
from pipeline.preprocess.slabs import SampleSlabsd, sampling_of

IMAGE, MAP = "image", "map"
PARTS = ("preprocessing", "inferer", "postprocessing")
RECIPE = "@_meta_::candela::recipe::"
TEMPERED = "$lambda logits: logits / @_meta_::candela::temperature"
USUAL: dict[str, Any] = {
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": IMAGE},
            {"_target_": "EnsureChannelFirstd", "keys": IMAGE},
            {
                "_target_": "pipeline.preprocess.slabs.SampleSlabsd",
                "keys": IMAGE,
                "matrix": f"{RECIPE}matrix",
                "pixel_mm": f"{RECIPE}pixel_mm",
                "slab_mm": f"{RECIPE}slab_mm",
            },
            {"_target_": "pipeline.preprocess.intensity.NormalizeHeadIntensityd", "keys": IMAGE},
        ],
    },
    "inferer": {"_target_": "models.slabs.SlabInferer", "batch_size": 16},
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [
            {
                "_target_": "Lambdad",
                "keys": "classes",
                "func": TEMPERED,
            },
            {"_target_": "Activationsd", "keys": "classes", "softmax": True},
            {"_target_": "Activationsd", "keys": ["mask", "head"], "sigmoid": True, "allow_missing_keys": True},
        ],
    },
}
"""How a slab network is run; ``_meta_`` is MONAI's name for metadata.json."""
TODO = "docs/slab-networks.md says what preprocessing, inferer and postprocessing take and give."


class SlabInferer(Inferer):
    """Runs a 2D network on a stack of slabs, ``batch_size`` at a time.

    Takes a batch of one stack, (1, C, slabs, M, M), and a network of (N, C, M, M). Its outputs (N, ...), a tensor or
    several, come back with the slabs as a spatial axis: maps (N, K, M, M) as (1, K, slabs, M, M), values (N, K) as
    (1, K, slabs), values (N,) as (1, 1, slabs). MONAI's SliceInferer takes no outputs but maps.
    """

    def __init__(self, batch_size: int = 16) -> None:
        super().__init__()
        self.batch_size = batch_size

    def __call__(
        self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Tensor | tuple[Tensor, ...]:
        if inputs.ndim != 5 or len(inputs) != 1:
            raise ValueError(f"one stack of slabs (1, C, slabs, M, M) is read, not {tuple(inputs.shape)}")
        said: list[tuple[Tensor, ...]] = []
        single = True
        for few in torch.split(inputs[0].transpose(0, 1), self.batch_size):
            found = network(few.contiguous(memory_format=torch.channels_last), *args, **kwargs)
            single = isinstance(found, Tensor)
            said.append((found,) if single else tuple(found))
            shapes = [tuple(output.shape) for output in said[-1]]
            if any(shape[:1] != (len(few),) for shape in shapes):
                raise ValueError(f"the network gives {shapes} for {len(few)} slices")
        joined = [_channel_first(torch.cat(parts)) for parts in zip(*said, strict=True)]
        return joined[0] if single else tuple(joined)


def _channel_first(output: Tensor) -> Tensor:
    """(slabs, K, ...) or (slabs,) → (1, K, slabs, ...)."""
    return (output[:, None] if output.ndim == 1 else output).transpose(0, 1)[None]


@dataclass(frozen=True)
class SlabWorkflow:
    """The parts of a bundle's workflow; ``where`` names the bundle.

    ``preprocessing`` and ``postprocessing`` take and give dicts: the image under `IMAGE`, the network's outputs under
    their names in metadata.json. ``inferer`` takes a batch (1, 1, slabs, M, M) and the network.
    """

    preprocessing: Any
    inferer: Any
    postprocessing: Any
    where: str

    def prepared(self, volume: Volume) -> tuple[MetaTensor, Sampling]:
        """The network's input for ``volume``, (1, slabs, M, M), and how it was cut.

        Raises
        ------
        BadModel
            where the preprocessing fails, or cuts no slabs from the source's own grid.
        """
        loads = rules.loads(self.preprocessing)
        given = InMemory((volume,), channel_dim=rules.channel_dim(self.preprocessing)) if loads else as_image(volume)
        with foreign("preprocessing", self.where):
            image = self.preprocessing({IMAGE: given})[IMAGE]
        cut = sampling_of(image)
        if cut is None:
            raise BadModel("The bundle's preprocessing cuts no slabs.", where=self.where, todo=TODO)
        plan, affine = cut
        if not same_grid(plan.shape[::-1], affine, volume.shape[::-1], ras_affine(volume)):
            raise BadModel("The bundle's preprocessing changes the grid before slabs.", where=self.where, todo=TODO)
        stack = (1, len(plan.slabs), plan.fit.matrix, plan.fit.matrix)
        if tuple(image.shape) != stack:
            raise BadModel(
                f"The bundle's preprocessing gives {tuple(image.shape)}, not {stack}.", where=self.where, todo=TODO
            )
        return image, plan

    def post(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the postprocessing makes of ``outputs``: classes (K, slabs), mask (1, slabs, M, M), head (1, slabs).

        Raises
        ------
        BadModel
            where it fails, or gives no probabilities of the same shapes.
        """
        with foreign("postprocessing", self.where):
            given = self.postprocessing(dict(outputs))
            found = {name: torch.as_tensor(given[name]).as_subclass(Tensor).float() for name in outputs}
        for name, values in found.items():
            if values.shape != outputs[name].shape or not bool(((values >= 0) & (values <= 1)).all()):
                raise BadModel(
                    f"The bundle's postprocessing gives no probabilities {tuple(outputs[name].shape)} as {name}.",
                    where=self.where,
                    todo=TODO,
                )
        return found

    def on_source(self, maps: Tensor, image: MetaTensor) -> FloatArray:
        """``maps`` (slabs, 1, M, M) of the input ``image`` on the source pixels, (slices, rows, columns).

        MONAI's Invertd goes back through the preprocessing by what it left in the image's trace.
        """
        back = Invertd(MAP, self.preprocessing, IMAGE, nearest_interp=False)
        with foreign("preprocessing, inverted,", self.where):
            found = back({MAP: MetaTensor(maps[:, 0][None].float()), IMAGE: image})[MAP]
        planes: FloatArray = to_source(found)[0]
        return planes


def use_contract(parser: ConfigParser, bundle: Bundle) -> None:
    """Let a configuration's ``_meta_::candela`` be the bundle's contract, which lies in candela.json where that is.

    Where its preprocessing cuts no slabs, the `USUAL` parts take the place of its own.
    """
    contract = bundle.contract
    block = {"recipe": dict(vars(contract.recipe)), "temperature": contract.temperature}
    meta = parser.get("_meta_", {})
    parser["_meta_"] = {**meta, "candela": {**meta.get("candela", {}), **block}}
    if not any(name.rpartition(".")[2] == SampleSlabsd.__name__ for name in _targets(parser.get("preprocessing"))):
        for part in PARTS:
            parser[part] = json.loads(json.dumps(USUAL[part]))
        rules.replaced(parser.get())


def make_workflow(parser: ConfigParser, bundle: Bundle, device: torch.device) -> SlabWorkflow:
    """The workflow of ``bundle`` by its configuration.

    Raises
    ------
    BadModel
        where a part is absent or cannot be made, slabs are cut otherwise than the contract says, or the postprocessing
        inverts.
    """
    where = str(bundle.inference)
    before, inferer, after = (made(parser, part, where) for part in PARTS)
    rules.fit_transforms(before)
    rules.fit_transforms(after)
    rules.fit_inferer(inferer, device)
    for step in rules.flat(before):
        if isinstance(step, SampleSlabsd):
            agree(step.sample.recipe, bundle)
    if rules.inverts(after):
        raise BadModel(
            "The bundle's postprocessing brings maps back to the source.",
            where=where,
            todo="Leave Invertd out: Candela inverts the regions that the answer of the series rests on.",
        )
    return SlabWorkflow(before, inferer, after, where)


def agree(recipe: Recipe, bundle: Bundle) -> None:
    """Refuse a configuration's ``recipe`` that is not the contract's."""
    if recipe != bundle.contract.recipe:
        raise BadModel(
            "inference.json and metadata.json name different preprocessing.",
            where=str(bundle.inference),
            todo=f'Make them equal, or write "{RECIPE}matrix" and so on in inference.json.',
        )


def _targets(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        yield str(part.get("_target_", ""))
    for value in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _targets(value)
