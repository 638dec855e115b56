"""Gradient SHAP for one slice, for researchers: the contribution of each pixel to a class logit, against baselines.

Needs captum, which the ``research`` extra brings; nothing else in Candela does.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from models.explain import ClassLogits
from pipeline.errors import BadSettings

SAMPLES = 50
BLUR_PIXELS = 12.0
NOISE = 0.1
"""Deviation of the noise on each sample, of pictures whose head has deviation 1."""


def gradient_shap(
    network: nn.Module, image: Tensor, class_index: int, *, samples: int = SAMPLES, seed: int = 0
) -> Tensor:
    """Attribution to the class's logit by pixel, (1, 1, M, M) like ``image`` (normalised), signed, in logits.

    Lundberg and Lee, NeurIPS 2017, as captum's GradientShap: expected gradients between ``image`` with a little noise
    and two baselines, an empty picture and ``image`` blurred beyond recognition. The pixels add up, about, to how much
    higher the logit is than of the baselines. The same seed gives the same map.

    Raises
    ------
    BadSettings
        where captum is not installed.
    """
    explainer = _captum().GradientShap(ClassLogits(copy.deepcopy(network)).eval())
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        state = np.random.get_state()  # noqa: NPY002 - captum draws from numpy's global state
        np.random.seed(seed)  # noqa: NPY002
        try:
            found = explainer.attribute(
                image.clone(), baselines(image), n_samples=samples, stdevs=NOISE, target=class_index
            )
        finally:
            np.random.set_state(state)  # noqa: NPY002
    shap: Tensor = found.detach().float()
    return shap


def baselines(image: Tensor) -> Tensor:
    """The baselines, (2, 1, M, M): an empty picture (its own darkest value), and the picture itself blurred."""
    plain = torch.full_like(image, float(image.min()))
    blurred = torch.from_numpy(gaussian_filter(image[0, 0].cpu().numpy(), BLUR_PIXELS))[None, None].to(image)
    return torch.cat([plain, blurred])


def installed() -> bool:
    """Whether `gradient_shap` can be called here."""
    return importlib.util.find_spec("captum") is not None


def _captum() -> Any:
    try:
        return importlib.import_module("captum.attr")
    except ImportError as error:
        raise BadSettings(
            "Gradient SHAP needs captum, which is not installed.",
            todo="Install the research extra: pip install 'candela[research]'.",
        ) from error
