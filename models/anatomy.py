"""A second check that a series shows a head, independent of the model's own network.

Two tests, each with a limit in the bundle's contract:

1. `models.layers`: scalp and skull must surround the object.
2. `Likeness`: an encoder that was trained on photographs and never on medical images describes each slab. The
   Mahalanobis distance of that description from those of heads reveals other objects, whatever they are. Its statistics
   come from heads alone, so no new kind of object can mislead it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from models.bundle import Anatomy, Bundle
from models.encoder import Encoder
from models.layers import Layers
from pipeline.errors import BadModel, OutOfScope
from pipeline.findings.model import FloatArray

STAGES = 5
"""Stages of the encoder: its features at 1/16 of the resolution (112 channels, a cell of 25 mm) describe parts of
objects, not yet ImageNet's classes.
"""
AT_ONCE = 16
SURROUNDED = 0.9
"""From this share of the outline on, scalp and skull surround the object almost completely."""
MARGIN = 1.15
"""Excess over the contract's distance that is allowed for such an object. Drawn heads with an even scalp and a black
skull, as in demonstrations and tests, differ a little from scanned ones.
"""
BARE = 2.0
"""A brain without skull may have folds that look like layers, up to this many times the contract's limit."""
TODO = "The model reads series of the head; look at the images and their tags."
RESTORE = "Restore the weights that belong to this bundle."


class Described(nn.Module):
    """Describes normalised slabs (N, 1, M, M) by the mean of deep features over the slab, (N, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder(STAGES)

    def forward(self, images: Tensor) -> Tensor:
        deepest: Tensor = self.encoder(images)[-1]
        return deepest.float().mean((2, 3))


class Likeness:
    """The distance of slabs from heads; ``weights`` are those that `models.training.anatomy` wrote.

    Raises
    ------
    BadModel
        where the file is unreadable, not that of the contract, or does not fit.
    """

    def __init__(self, bundle: Bundle, anatomy: Anatomy, device: torch.device) -> None:
        path = bundle.folder / anatomy.file
        weights = _read(path, anatomy)
        self._described = Described().eval().requires_grad_(requires_grad=False)
        try:
            self._mean, self._whiten = weights.pop("mean").float(), weights.pop("whiten").float()
            self._described.load_state_dict({key: value.float() for key, value in weights.items()})
        except (KeyError, RuntimeError) as error:
            raise BadModel("The weights of the anatomy test do not fit it.", where=str(path), todo=RESTORE) from error
        self._described.to(device)
        self._device = device

    def distances(self, inputs: Tensor) -> npt.NDArray[np.float32]:
        """The distance of each normalised slab, inputs (n, 1, M, M), from heads, (n,); those of heads are about 1."""
        with torch.inference_mode():
            parts = [
                self._described(few.to(self._device).contiguous(memory_format=torch.channels_last)).cpu()
                for few in torch.split(inputs, AT_ONCE)
            ]
        away = (torch.cat(parts) - self._mean) @ self._whiten
        found: npt.NDArray[np.float32] = away.square().mean(dim=1).sqrt().numpy()
        return found


def refuse_other_anatomy(found: Layers, distances: FloatArray, anatomy: Anatomy) -> None:
    """Refuse an object without the layers of a head, or too unlike heads; ``distances`` are by slab.

    Where the field of view cuts the outline nearly all around, as that of a pituitary protocol may, the layers cannot
    be judged, and the distance decides.

    Raises
    ------
    OutOfScope
        naming the failed test and its figure; a brain that was cut out of its skull is named as such.
    """
    distance = float(np.median(distances))
    whole = found.share is not None and found.share >= SURROUNDED
    most = anatomy.distance * (MARGIN if whole else 1.0)
    near = distance <= most
    surrounded = found.share is None or found.share >= anatomy.skull
    if near and surrounded:
        return
    refuse_bare_brain(found, anatomy)
    if not surrounded:
        raise OutOfScope(
            "The images do not look like slices through a head: "
            f"scalp and skull surround {found.share:.0%} of the outline, of a head at least {anatomy.skull:.0%}.",
            todo=TODO,
        )
    raise OutOfScope(
        "The images do not look like slices through a head: "
        f"their structure differs by {distance:.2f}, that of heads by {most:.3g} at most.",
        todo=TODO,
    )


def refuse_bare_brain(found: Layers, anatomy: Anatomy) -> None:
    """Refuse an object that looks like a brain that was cut out of its skull, with that reason.

    Raises
    ------
    OutOfScope
        where its surroundings are empty and it has hardly any scalp and skull.
    """
    if found.cut_out and found.share is not None and found.share < BARE * anatomy.skull:
        raise OutOfScope(
            "The images look like a brain without skull and scalp (brain-extracted images), or like no head: "
            f"scalp and skull surround {found.share:.0%} of the outline, and nothing lies around it.",
            todo="Send the images as the scanner made them, before brain extraction.",
        )


def _read(path: Path, anatomy: Anatomy) -> dict[str, Tensor]:
    try:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != anatomy.sha256:
            raise BadModel(
                "The weights of the anatomy test are not those of metadata.json.", where=str(path), todo=RESTORE
            )
        return load(data)
    except (OSError, SafetensorError) as error:
        raise BadModel("The anatomy test's weights cannot be read.", where=str(path), todo=str(error)) from error
