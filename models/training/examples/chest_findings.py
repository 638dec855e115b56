"""An example bundle that classifies: a drawn chest projection in, scores of pleural effusion and pneumothorax out.

``python -m models.training.examples.chest_findings --out DIR`` draws chests, trains a small network on them with the
bundle's own preprocessing, measures it on chests of other seeds and writes the bundle to DIR. A processor core needs a
minute or two. `candela models add DIR` installs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.training.examples.chests import EFFUSION, PNEUMOTHORAX, chest
from models.training.examples.command import Plan, Training
from models.training.examples.files import NOT_FOR_PATIENTS, Example, component, inference, step
from models.workflow.config import make_transforms
from models.workflow.run import ResidentWorkflow
from models.workflow.volumes.reader import InMemory
from pipeline.findings.answers import Classification

CLASSES = (EFFUSION, PNEUMOTHORAX)
SIDE = 96
BATCH = 16
HELD_OUT = 100_000
NETWORK = {
    "_target_": "Classifier",
    "in_shape": [1, SIDE, SIDE],
    "classes": len(CLASSES),
    "channels": [8, 16, 32, 32],
    "strides": [2, 2, 2, 2],
    "last_act": None,
}
TITLES = {EFFUSION: "Pleural effusion", PNEUMOTHORAX: "Pneumothorax"}
CODES = {
    EFFUSION: {"scheme": "SCT", "value": "60046008", "meaning": "Pleural effusion"},
    PNEUMOTHORAX: {"scheme": "SCT", "value": "36118008", "meaning": "Pneumothorax"},
}
CHEST = {"scheme": "SCT", "value": "816094009", "meaning": "Chest"}
CHEST_VIEWS = {"scheme": "LN", "value": "30745-4", "meaning": "XR Chest Views"}
IMAGE = {
    "type": "image",
    "format": "magnitude",
    "modality": "DX",
    "num_channels": 1,
    "spatial_shape": [SIDE, SIDE],
    "dtype": "float32",
    "value_range": [],
    "is_patch_data": False,
    "channel_def": {"0": "image"},
}
SCOPE = {
    "modalities": ["DX", "CR"],
    "body_parts": ["CHEST"],
    "views": ["PA", "AP"],
    "validated_protocol": "Drawn frontal projections of a chest. No patients.",
}

_INFERENCE = inference(
    NETWORK,
    before=[
        step("LoadImaged", "image"),
        step("EnsureChannelFirstd", "image"),
        step("Resized", "image", spatial_size=[SIDE, SIDE], mode="area"),
        step("NormalizeIntensityd", "image"),
        step("EnsureTyped", "image"),
    ],
    inferer={"_target_": "SimpleInferer"},
    after=[
        step("Activationsd", "pred", sigmoid=True),
        step("SaveClassificationd", "pred", saver="$None"),
    ],
)
_CONTRACT = {
    "title": "Chest findings on drawings",
    "answer": {
        "kind": "classification",
        "exclusive": False,
        "classes": [
            {"value": index, "name": name, "title": TITLES[name], "code": CODES[name]}
            for index, name in enumerate(CLASSES)
        ],
        "thresholds": dict.fromkeys(CLASSES, 0.5),
    },
    "inputs": [{"key": "image", "kind": "projection", "channels": [{"name": "image"}]}],
    "scope": SCOPE,
    "report": {"procedure": CHEST_VIEWS, "body_part": CHEST, "key_image": "strongest"},
}
_CARD = f"""# Chest findings on drawings

{NOT_FOR_PATIENTS}

**In:** a frontal projection of a chest. **Out:** a score each, 0 to 1, of pleural effusion and of pneumothorax; both
may hold, or neither.

**Network:** MONAI's Classifier with four levels on {SIDE}² pixels, trained with binary cross-entropy on chests that
`models/training/examples/chests.py` draws: sizes, ribs, heart, exposure, grain and findings by chance.

{{figures}}

Trained anew by `python -m models.training.examples.chest_findings --out DIR`.
"""
EXAMPLE = Example(
    title="Chest findings on drawings",
    task="Pleural effusion and pneumothorax on chest projections, on drawings",
    inference=_INFERENCE,
    described={
        "inputs": {"image": IMAGE},
        "outputs": {
            "pred": {
                "type": "probabilities",
                "format": "classes",
                "num_channels": len(CLASSES),
                "spatial_shape": [1, len(CLASSES)],
                "dtype": "float32",
                "value_range": [0, 1],
                "is_patch_data": False,
                "channel_def": {str(index): TITLES[name] for index, name in enumerate(CLASSES)},
            }
        },
    },
    contract=_CONTRACT,
    card=_CARD,
)


def network() -> nn.Module:
    """The bundle's network with random weights."""
    return component(NETWORK)


def train(folder: Path, plan: Plan) -> nn.Module:
    """A network trained by ``plan`` with the preprocessing of the bundle in ``folder``."""
    torch.manual_seed(plan.seed)
    net = network().train()
    before, _ = make_transforms(folder, torch.device("cpu"))
    images, truths = [], []
    for seed in plan.told(range(plan.cases), "chests drawn"):
        drawn = chest(seed)
        images.append(before({"image": InMemory((drawn.volume,), projection=True)})["image"].as_subclass(Tensor))
        truths.append(torch.tensor([name in drawn.findings for name in CLASSES]).float())
    told, wanted = torch.stack(images), torch.stack(truths)
    optimiser = torch.optim.AdamW(net.parameters(), lr=plan.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, plan.rate, total_steps=plan.steps, pct_start=0.1)
    for _ in plan.told(range(plan.steps), "steps"):
        chosen = torch.randint(len(told), (BATCH,))
        optimiser.zero_grad()
        loss: Any = functional.binary_cross_entropy_with_logits(net(told[chosen]), wanted[chosen])
        loss.backward()
        optimiser.step()
        schedule.step()
    return net.eval()


def accuracy(workflow: ResidentWorkflow, seeds: range) -> dict[str, float]:
    """For each class the share of the drawn chests of ``seeds`` on which its score lies on the right side of a half."""
    right = dict.fromkeys(CLASSES, 0)
    for seed in seeds:
        drawn = chest(seed)
        answer = workflow.run({"image": drawn.volume})
        if not isinstance(answer, Classification):
            raise TypeError("the bundle gives no classification")
        for named, score in zip(answer.classes, answer.scores, strict=True):
            right[named.name] += (score >= 0.5) == (named.name in drawn.findings)
    return {name: count / len(seeds) for name, count in right.items()}


def measure(workflow: ResidentWorkflow, seeds: range) -> str:
    """The lines of the model card: `accuracy` on the chests of ``seeds``."""
    measured = accuracy(workflow, seeds)
    lines = "\n".join(f"| {TITLES[name]} | {value:.3f} |" for name, value in measured.items())
    return (
        f"Share of right answers on {len(seeds)} drawn chests that were not in training (half of them have the "
        f"finding):\n\n| finding | right |\n|---|---|\n{lines}"
    )


TRAINING = Training(
    example=EXAMPLE,
    plan=Plan(cases=1200, steps=500, rate=4e-3, held_out=200),
    network=network,
    train=train,
    measure=measure,
    held_out=HELD_OUT,
    drawn="chests",
)


if __name__ == "__main__":
    TRAINING.main(__doc__)
