"""An example bundle that detects: a drawn chest projection in, boxes around nodules and pacemakers out.

``python -m models.training.examples.chest_objects --out DIR`` draws chests, trains a small detector on them with the
bundle's own preprocessing, measures it on chests of other seeds and writes the bundle to DIR. A processor core needs a
few minutes. `candela models add DIR` installs it. The detector is a script of the bundle in plain torch: MONAI's
RetinaNet needs torchvision.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.training.examples import detector
from models.training.examples.chest_findings import CHEST, CHEST_VIEWS, IMAGE, SCOPE
from models.training.examples.chests import NODULE, PACEMAKER, Chest, chest
from models.training.examples.command import Plan, Training
from models.training.examples.files import NOT_FOR_PATIENTS, Example, inference, step
from models.workflow.config import make_transforms
from models.workflow.run import ResidentWorkflow
from models.workflow.volumes.reader import InMemory
from pipeline.findings.answers import Detection

CLASSES = (NODULE, PACEMAKER)
SIDE = 128
BATCH = 8
HELD_OUT = 100_000
SCORE = 0.4
"""Boxes with a lower score are left out."""
OVERLAP = 0.5
"""The intersection over union from which a box counts as found."""
ARGUMENTS = {"classes": len(CLASSES), "width": 12, "most": 20}
TITLES = {NODULE: "Nodule", PACEMAKER: "Cardiac pacemaker"}
CODES = {
    NODULE: {"scheme": "SCT", "value": "27925004", "meaning": "Nodule"},
    PACEMAKER: {"scheme": "SCT", "value": "14106009", "meaning": "Cardiac pacemaker"},
}

_INFERENCE = inference(
    {"_target_": "scripts.detector.CentreDetector", **ARGUMENTS},
    before=[
        step("LoadImaged", "image"),
        step("EnsureChannelFirstd", "image"),
        step("Resized", "image", spatial_size=[SIDE, SIDE], mode="area"),
        step("NormalizeIntensityd", "image"),
        step("EnsureTyped", "image"),
    ],
    inferer={"_target_": "SimpleInferer"},
    after=[step("ToDeviced", "box", device="cpu", allow_missing_keys=True)],
)
_CONTRACT = {
    "title": "Chest objects on drawings",
    "answer": {
        "kind": "detection",
        "score": SCORE,
        "classes": [
            {"value": index, "name": name, "title": TITLES[name], "code": CODES[name]}
            for index, name in enumerate(CLASSES)
        ],
    },
    "inputs": [{"key": "image", "kind": "projection", "channels": [{"name": "image"}]}],
    "scope": SCOPE,
    "report": {"procedure": CHEST_VIEWS, "body_part": CHEST, "key_image": "strongest"},
}
_CARD = f"""# Chest objects on drawings

{NOT_FOR_PATIENTS}

**In:** a frontal projection of a chest. **Out:** boxes around nodules and pacemakers, each with a score.

**Network:** an anchor-free detector in the manner of CenterNet (`scripts/detector.py`, plain torch) on {SIDE}² pixels,
trained on chests that `models/training/examples/chests.py` draws: sizes, ribs, heart, exposure, grain and objects by
chance.

{{figures}}

Trained anew by `python -m models.training.examples.chest_objects --out DIR`.
"""
EXAMPLE = Example(
    title="Chest objects on drawings",
    task="Nodules and pacemakers on chest projections, on drawings",
    inference=_INFERENCE,
    described={
        "inputs": {"image": IMAGE | {"spatial_shape": [SIDE, SIDE]}},
        "outputs": {
            "pred": {
                "type": "object",
                "format": "dict",
                "num_channels": len(CLASSES),
                "spatial_shape": ["n", "n"],
                "dtype": "float32",
                "value_range": [],
                "is_patch_data": False,
                "channel_def": {str(index): TITLES[name] for index, name in enumerate(CLASSES)},
            }
        },
    },
    contract=_CONTRACT,
    card=_CARD,
    scripts={"scripts/__init__.py": "", "scripts/detector.py": Path(detector.__file__).read_text()},
)


@dataclass(frozen=True)
class Measured:
    """Of the objects of one class: ``found`` (a box of its class overlaps it by half), ``missed``; ``false`` boxes."""

    found: int
    missed: int
    false: int


def network() -> detector.CentreDetector:
    """The bundle's network with random weights."""
    return detector.CentreDetector(**ARGUMENTS)


def train(folder: Path, plan: Plan) -> detector.CentreDetector:
    """A network trained by ``plan`` with the preprocessing of the bundle in ``folder``."""
    torch.manual_seed(plan.seed)
    net = network().train()
    before, _ = make_transforms(folder, torch.device("cpu"))
    images, heats, tolds = [], [], []
    for seed in plan.told(range(plan.cases), "chests drawn"):
        drawn = chest(seed, objects=True)
        images.append(before({"image": InMemory((drawn.volume,), projection=True)})["image"].as_subclass(Tensor))
        heat, told = detector.targets(_on_network(drawn), len(CLASSES), (SIDE, SIDE))
        heats.append(heat)
        tolds.append(told)
    parts = [torch.stack(items) for items in (images, heats, tolds)]
    optimiser = torch.optim.AdamW(net.parameters(), lr=plan.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, plan.rate, total_steps=plan.steps, pct_start=0.1)
    for _ in plan.told(range(plan.steps), "steps"):
        chosen = torch.randint(plan.cases, (BATCH,))
        image, heat, told = (part[chosen] for part in parts)
        maps = net(image)
        if not isinstance(maps, Tensor):
            raise TypeError("the network is not in training mode")
        optimiser.zero_grad()
        loss: Any = detector.loss(maps, heat, told)
        loss.backward()
        optimiser.step()
        schedule.step()
    return net.eval()


def measured(workflow: ResidentWorkflow, seeds: range) -> dict[str, Measured]:
    """How many objects of each class are found on the drawn chests of ``seeds``."""
    counts = {name: [0, 0, 0] for name in CLASSES}
    for seed in seeds:
        drawn = chest(seed, objects=True)
        answer = workflow.run({"image": drawn.volume})
        if not isinstance(answer, Detection):
            raise TypeError("the bundle gives no boxes")
        boxes = [(item.finding.name, _flat(item.corners)) for item in answer.boxes]
        for name, box in drawn.boxes:
            hits = [item for item in boxes if item[0] == name and overlap(item[1], box) >= OVERLAP]
            counts[name][0 if hits else 1] += 1
            if hits:
                boxes.remove(hits[0])
        for name, _ in boxes:
            counts[name][2] += 1
    return {name: Measured(*values) for name, values in counts.items()}


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    a, b = np.array(one), np.array(other)
    sides = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    areas = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]))
    shared = float(np.prod(sides))
    return shared / max(areas - shared, 1e-9)


def measure(workflow: ResidentWorkflow, seeds: range) -> str:
    """The lines of the model card: `measured` on the chests of ``seeds``."""
    lines = "\n".join(
        f"| {TITLES[name]} | {item.found} of {item.found + item.missed} | {item.false} |"
        for name, item in measured(workflow, seeds).items()
    )
    return (
        f"On {len(seeds)} drawn chests that were not in training, with boxes of a score from {SCORE} that overlap "
        f"the object by half (intersection over union):\n\n| object | found | false boxes |\n|---|---|---|\n{lines}"
    )


def _on_network(drawn: Chest) -> list[tuple[int, Tensor]]:
    """Label and box (x0, y0, x1, y1) of each object in pixels of the network's image; x runs along the columns."""
    scale = SIDE / drawn.image.shape[0]
    return [(CLASSES.index(name), (torch.tensor(box) + 0.5) * scale - 0.5) for name, box in drawn.boxes]


def _flat(corners: np.ndarray) -> tuple[float, ...]:
    """(left, top, right, bottom) of four corners (slice, row, column)."""
    (top, left), (bottom, right) = corners[:, 1:].min(axis=0), corners[:, 1:].max(axis=0)
    return float(left), float(top), float(right), float(bottom)


TRAINING = Training(
    example=EXAMPLE,
    plan=Plan(cases=800, steps=600, rate=4e-3, held_out=100),
    network=network,
    train=train,
    measure=measure,
    held_out=HELD_OUT,
    drawn="chests",
)


if __name__ == "__main__":
    TRAINING.main(__doc__)
