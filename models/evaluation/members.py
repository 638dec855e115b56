"""Which network of a model has not seen which fold."""

from __future__ import annotations

from torch import nn

from models.networks import Committee
from models.training.plan import Plan
from pipeline.errors import BadModel


def members_of(network: nn.Module, plan: Plan) -> dict[int, nn.Module]:
    """The networks within a model's own, by the fold that each did not see.

    Raises
    ------
    BadModel
        where the recipe names another number of members.
    """
    members = list(network.members) if isinstance(network, Committee) else [network]
    if len(members) != len(plan.members):
        raise BadModel(
            f"The model has {len(members)} networks and its recipe names {len(plan.members)} held-out folds.",
            where="configs/train.json",
            todo="Name in `members` the fold that each network did not see.",
        )
    return dict(zip(plan.members, members, strict=True))
