"""An example bundle that segments: four MR series in, three nested regions of a tumour out, as the zoo's BraTS model.

``python -m models.training.examples.tumour_regions --out DIR`` draws heads, trains a small SegResNet on them with the
bundle's own preprocessing, measures it on heads of other seeds and writes the bundle to DIR. A processor core needs a
few minutes. `candela models add DIR` installs it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.losses.dice import DiceCELoss
from torch import Tensor, nn

from models.training.examples.brains import REGIONS, WEIGHTINGS, Head, grid_points, study
from models.training.examples.command import Plan, Training
from models.training.examples.files import NOT_FOR_PATIENTS, Example, component, inference, step
from models.workflow.config import make_transforms
from models.workflow.run import ResidentWorkflow
from models.workflow.volumes.reader import InMemory
from pipeline.findings.answers import Segmentation

NETWORK = {
    "_target_": "SegResNet",
    "spatial_dims": 3,
    "init_filters": 8,
    "in_channels": len(WEIGHTINGS),
    "out_channels": len(REGIONS),
    "blocks_down": [1, 1, 2],
    "blocks_up": [1, 1],
}
GRID_MM = 3.0
CROP = 40
"""Side of a training crop in voxels: half of a head in each direction."""
BATCH = 2
HELD_OUT = 10_000
"""The seed of the first held-out head; training stays below."""
TITLES = {"tumor_core": "Tumor core", "whole_tumor": "Whole tumor", "enhancing_tumor": "Enhancing tumor"}
NEOPLASM = {"scheme": "SCT", "value": "108369006", "meaning": "Neoplasm"}
ABNORMAL = {"scheme": "SCT", "value": "49755003", "meaning": "Morphologically Abnormal Structure"}

_DESCRIBED = {
    "inputs": {
        "image": {
            "type": "image",
            "format": "magnitude",
            "modality": "MR",
            "num_channels": len(WEIGHTINGS),
            "spatial_shape": ["4*n", "4*n", "4*n"],
            "dtype": "float32",
            "value_range": [],
            "is_patch_data": True,
            "channel_def": {str(index): name for index, name in enumerate(("T1", "T1c", "T2", "FLAIR"))},
        }
    },
    "outputs": {
        "pred": {
            "type": "image",
            "format": "segmentation",
            "num_channels": len(REGIONS),
            "spatial_shape": ["4*n", "4*n", "4*n"],
            "dtype": "float32",
            "value_range": [0, 1],
            "is_patch_data": True,
            "channel_def": {str(index): TITLES[name] for index, name in enumerate(REGIONS)},
        }
    },
}
_INFERENCE = inference(
    NETWORK,
    before=[
        step("LoadImaged", "image"),
        step("EnsureChannelFirstd", "image"),
        step("Orientationd", "image", axcodes="RAS"),
        step("Spacingd", "image", pixdim=[GRID_MM] * 3, mode="bilinear"),
        step("NormalizeIntensityd", "image", nonzero=True, channel_wise=True),
        step("EnsureTyped", "image"),
    ],
    inferer={
        "_target_": "SlidingWindowInferer",
        "roi_size": [80, 80, 80],
        "sw_batch_size": 1,
        "overlap": 0.25,
        "mode": "gaussian",
    },
    after=[
        step("Activationsd", "pred", sigmoid=True),
        step("Invertd", "pred", transform="@preprocessing", orig_keys="image", nearest_interp=False, to_tensor=True),
        step("AsDiscreted", "pred", threshold=0.5),
        step("SaveImaged", "pred", output_dir="$@bundle_root + '/eval'"),
    ],
)
_CONTRACT = {
    "title": "Tumor regions on drawings",
    "answer": {
        "kind": "segmentation",
        "form": "channels",
        "channels": len(REGIONS),
        "structures": [
            {"value": index, "name": name, "title": TITLES[name], "category": ABNORMAL}
            | ({"code": NEOPLASM} if name == "whole_tumor" else {})
            for index, name in enumerate(REGIONS)
        ],
    },
    "inputs": [
        {
            "key": "image",
            "channels": [
                {"name": "t1", "weightings": ["T1"], "contrast": False},
                {"name": "t1c", "weightings": ["T1"], "contrast": True},
                {"name": "t2", "weightings": ["T2"]},
                {"name": "flair", "weightings": ["FLAIR"]},
            ],
        }
    ],
    "scope": {
        "modalities": ["MR"],
        "body_parts": ["BRAIN", "HEAD"],
        "validated_protocol": "Drawn heads: axial T1, T1 with contrast, T2 and FLAIR on one grid. No patients.",
    },
    "report": {
        "target": NEOPLASM,
        "procedure": {"scheme": "LN", "value": "24590-2", "meaning": "MR Brain"},
        "body_part": {"scheme": "SCT", "value": "12738006", "meaning": "Brain"},
        "key_image": "largest",
    },
}
_CARD = f"""# Tumor regions on drawings

{NOT_FOR_PATIENTS}

**In:** four MR series of one study on one grid: T1, T1 with contrast, T2, FLAIR. **Out:** three regions, each within
the next: enhancing tumor, tumor core, whole tumor.

**Network:** SegResNet with 8 filters (MONAI), isotropic voxels of {GRID_MM:g} mm, trained with Dice and cross-entropy
on crops of {CROP}³ of heads that `models/training/examples/brains.py` draws: sizes, folds, ventricles, tumor, slices,
tilt, contrast, shading and noise by chance.

{{figures}}

Trained anew by `python -m models.training.examples.tumour_regions --out DIR`.
"""
EXAMPLE = Example(
    title="Tumor regions on drawings",
    task="Three nested regions of a brain tumor from four MR series, on drawings",
    inference=_INFERENCE,
    described=_DESCRIBED,
    contract=_CONTRACT,
    card=_CARD,
)


def network() -> nn.Module:
    """The bundle's network with random weights."""
    return component(NETWORK)


def train(folder: Path, plan: Plan) -> nn.Module:
    """A network trained by ``plan`` with the preprocessing of the bundle in ``folder``."""
    torch.manual_seed(plan.seed)
    rng = np.random.default_rng(plan.seed)
    net = network().train()
    before, _ = make_transforms(folder, torch.device("cpu"))
    cases = [_prepared(before, seed) for seed in plan.told(range(plan.cases), "heads drawn")]
    optimiser = torch.optim.AdamW(net.parameters(), lr=plan.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, plan.rate, total_steps=plan.steps, pct_start=0.1)
    loss_of = DiceCELoss(sigmoid=True, batch=True)
    for _ in plan.told(range(plan.steps), "steps"):
        crops = [_crop(rng, *cases[int(rng.integers(len(cases)))]) for _ in range(BATCH)]
        images, truths = (torch.stack(part) for part in zip(*crops, strict=True))
        optimiser.zero_grad()
        loss = loss_of(net(images), truths)
        loss.backward()
        optimiser.step()
        schedule.step()
    return net.eval()


def dice(workflow: ResidentWorkflow, seeds: range) -> dict[str, float]:
    """The mean Dice of each region over the drawn heads of ``seeds``, each with a tumour, on their series' grid."""
    found: dict[str, list[float]] = {name: [] for name in REGIONS}
    for seed in seeds:
        drawn = study(seed, tumour=True)
        answer = workflow.run(drawn.series)
        if not isinstance(answer, Segmentation):
            raise TypeError("the bundle gives no segmentation")
        for name, truth in zip(REGIONS, drawn.regions, strict=True):
            mask = answer.mask_of(name)
            found[name].append(2 * float((mask & truth).sum()) / max(1.0, float(mask.sum() + truth.sum())))
    return {name: float(np.mean(values)) for name, values in found.items()}


def measure(workflow: ResidentWorkflow, seeds: range) -> str:
    """The lines of the model card: `dice` on the heads of ``seeds``."""
    lines = "\n".join(f"| {TITLES[name]} | {value:.3f} |" for name, value in dice(workflow, seeds).items())
    return f"Mean Dice on {len(seeds)} drawn heads that were not in training:\n\n| region | Dice |\n|---|---|\n{lines}"


def _prepared(before: object, seed: int) -> tuple[Tensor, Tensor]:
    """Image (channels, X, Y, Z) and regions (regions, X, Y, Z) of a drawn head on the network's grid."""
    drawn = study(seed)
    made = before({"image": InMemory(tuple(drawn.series[name] for name in WEIGHTINGS))})["image"]  # type: ignore[operator]
    return made.as_subclass(Tensor), torch.from_numpy(_truth(drawn.head, made)).float()


def _truth(drawn: Head, image: MetaTensor) -> np.ndarray:
    ras = np.asarray(image.affine, dtype=np.float64)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ ras
    return drawn.regions(grid_points(lps, tuple(image.shape[1:])))


def _crop(rng: np.random.Generator, image: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """A crop, two of three times around a voxel of the tumour, mirrored by chance, each channel's gain a little off."""
    middle = [int(rng.integers(side)) for side in image.shape[1:]]
    inside = truth[1].nonzero()
    if len(inside) and rng.random() < 2 / 3:
        middle = [int(value + rng.integers(-10, 11)) for value in inside[int(rng.integers(len(inside)))]]
    starts = [
        int(np.clip(at - CROP // 2, 0, max(0, side - CROP))) for at, side in zip(middle, image.shape[1:], strict=True)
    ]
    window = (slice(None), *[slice(start, start + CROP) for start in starts])
    axes = [axis for axis in (1, 2, 3) if rng.random() < 0.5]
    gain = torch.from_numpy(rng.uniform(0.9, 1.1, size=(len(image), 1, 1, 1))).float()
    return torch.flip(image[window] * gain, axes), torch.flip(truth[window], axes)


TRAINING = Training(
    example=EXAMPLE,
    plan=Plan(cases=48, steps=400, rate=3e-3, held_out=12),
    network=network,
    train=train,
    measure=measure,
    held_out=HELD_OUT,
    drawn="heads",
)


if __name__ == "__main__":
    TRAINING.main(__doc__)
