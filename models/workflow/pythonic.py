"""A bundle whose workflow is a class: MONAI's PythonicWorkflow, in place of an inference.json.

MONAI runs such a class by its name on the command line; Candela finds the name in candela.json (``workflow``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pydoc import locate

import torch
from monai.bundle.workflows import BundleWorkflow
from monai.inferers.inferer import SimpleInferer
from torch import Tensor, nn

from models.bundle import METADATA
from models.workflow.config import Parts, fitted, load_state
from models.workflow.confined.foreign import foreign
from pipeline.errors import BadModel


def make_pythonic_parts(
    name: str,
    folder: Path,
    device: torch.device,
    *,
    states: Mapping[str, Mapping[str, Tensor]],
    scripted: Mapping[str, nn.Module],
) -> Parts:
    """The parts that the class called ``name`` gives as MONAI's properties, with their weights; see `make_parts`.

    Raises
    ------
    BadModel
        where there is no such class, or it gives no network.
    """
    where = str(folder)
    with foreign("workflow", where):
        kind = locate(name)
        if not (isinstance(kind, type) and issubclass(kind, BundleWorkflow)):
            raise BadModel(
                f"{name} is no class that derives from MONAI's BundleWorkflow.",
                where=where,
                todo="Correct workflow in configs/candela.json.",
            )
        made = kind(workflow_type="inference", meta_file=str(folder / METADATA))
        made.bundle_root, made.device = str(folder), device
        if "network" in scripted:
            made.network_def = scripted["network"]
        made.initialize()
        parts = Parts(
            made.network_def, made.preprocessing, made.inferer or SimpleInferer(), made.postprocessing, amp=False
        )
    for component, state in states.items():
        load_state(parts.network, state, component, where)
    return fitted(parts, device, where)
