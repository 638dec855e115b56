"""One slice with the explanation of its class as an overlay, as a PNG for researchers, not for the PACS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure

from models.evaluation.attribution import gradient_shap
from models.evaluation.gallery import GROUND, TEXT
from models.evaluation.plots import LOOK
from models.runtime import ResidentModel
from pipeline.errors import Refused
from pipeline.geometry.volume import Volume
from pipeline.results.wording import DISCLAIMER

Method = Literal["grad-cam", "gradient-shap"]
UNIT: dict[Method, str] = {
    "grad-cam": "Grad-CAM, 0 to strongest",
    "gradient-shap": "SHAP value by pixel, logits (orange: for, purple: against)",
}


@dataclass(frozen=True)
class Explanation:
    """One slab of a series as the network reads it, with the explanation of its answer.

    ``image`` (M, M) normalised; ``values`` (M, M) what ``method`` gives for class ``name``; ``probability`` the slab's
    own for that class (a series' answer rests on several slabs).
    """

    image: npt.NDArray[np.float32]
    values: npt.NDArray[np.float32]
    name: str
    probability: float
    method: Method


def explain_plane(
    model: ResidentModel, volume: Volume, plane: int, method: Method, *, class_name: str | None = None
) -> Explanation:
    """Explain why the slab with ``plane`` (from 0, in the volume's order) is classified as ``class_name``, or its
    likeliest class.

    Raises
    ------
    Refused
        where the volume has no such plane or the model no such class.
    BadSettings
        where ``method`` needs what is not installed.
    """
    if not 0 <= plane < len(volume.array):
        raise Refused(
            f"There is no slice {plane + 1}; the series has {len(volume.array)}.", todo="Slices are counted from 1."
        )
    if class_name is not None and class_name not in model.classes:
        raise Refused(f"The model has no class {class_name!r}.", todo=f"Take one of {', '.join(model.classes)}.")
    inputs, plan = model.inputs(volume)
    slab = plan.slab_of(plane)
    image = inputs[slab : slab + 1]
    probabilities = model.answers(image).probabilities[0]
    index = int(probabilities.argmax()) if class_name is None else model.classes.index(class_name)
    if method == "grad-cam":
        values = model.explainer.class_activation(image, index)
    else:
        device = next(model.network.parameters()).device
        values = gradient_shap(model.network, image.to(device), index)
    return Explanation(image[0, 0].numpy(), _plain(values), model.classes[index], float(probabilities[index]), method)


def write_picture(explanation: Explanation, model: ResidentModel, path: Path) -> None:
    """``explanation`` as a PNG at ``path``: the slice alone, the slice with the map, colour bar, class, disclaimer."""
    identity = model.identity
    with mpl.rc_context(LOOK):
        figure = Figure(figsize=(9.6, 5.6), layout="constrained")
        title = f"{explanation.name.replace('_', ' ')}: {explanation.probability:.0%} on this slice"
        figure.suptitle(title, color=TEXT, x=0.02, ha="left", fontsize=14)
        plain, mapped = figure.subplots(1, 2)
        low, high = np.quantile(explanation.image, (0.01, 0.998))
        for axes in (plain, mapped):
            axes.imshow(explanation.image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
            axes.axis("off")
        values, strength = explanation.values, float(np.abs(explanation.values).max())
        if explanation.method == "grad-cam":
            shown = mapped.imshow(
                values / (strength or 1.0), cmap="inferno", vmin=0, vmax=1, alpha=_alpha(values, strength)
            )
        else:
            limit = float(np.quantile(np.abs(values), 0.995)) or 1.0
            shown = mapped.imshow(values, cmap="PuOr_r", vmin=-limit, vmax=limit, alpha=_alpha(values, limit))
        bar = figure.colorbar(shown, ax=(plain, mapped), orientation="horizontal", fraction=0.05, aspect=50, pad=0.02)
        bar.set_label(UNIT[explanation.method], color=TEXT)
        if bar.solids is not None:
            bar.solids.set_alpha(1)
        bar.ax.tick_params(colors=TEXT)
        bar.outline.set_visible(False)
        figure.supxlabel(f"{DISCLAIMER}. {identity.title} {identity.version}.", color="#ffb454", fontsize=10)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120, facecolor=GROUND, format="png")


def _plain(values: torch.Tensor) -> npt.NDArray[np.float32]:
    return np.asarray(np.nan_to_num(values[0, 0].detach().cpu().numpy()), dtype=np.float32)


def _alpha(values: npt.NDArray[np.float32], limit: float) -> npt.NDArray[np.float64]:
    """Strong values cover the picture, weak ones let it through."""
    return np.clip(np.abs(values) / (limit or 1.0), 0, 1).astype(np.float64) ** 0.7 * 0.85
