"""Cross-validation: a bundle's recipe with another fold held out."""

from __future__ import annotations

import json
from pathlib import Path

from models.training.plan import read_plan
from pipeline.errors import Refused


def without_fold(recipe: Path, fold: int, to: Path) -> Path:
    """Write the training configuration ``recipe`` with ``fold`` held out to ``to``, and return ``to``.

    The folds that are trained on are the recipe's others, its own validation fold among them.

    Raises
    ------
    Refused
        where the recipe does not know the fold, or ``to`` holds another recipe: the run there was begun with it.
    BadModel
        where the recipe is broken.
    """
    plan = read_plan(recipe)
    folds = sorted({*plan.train_folds, plan.validate_fold})
    if fold not in folds:
        raise Refused(f"The recipe has no fold {fold}.", where=str(recipe), todo=f"Take one of {folds}.")
    raw = json.loads(recipe.read_text())
    raw["folds"] = raw["folds"] | {"train": [other for other in folds if other != fold], "validate": fold}
    text = json.dumps(raw, indent=1) + "\n"
    if to.is_file() and to.read_text() != text:
        raise Refused("A run with another recipe was begun here.", where=str(to), todo="Give another folder.")
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(text)
    return to
