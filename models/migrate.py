"""Contract 1, ``candela`` in metadata.json, as contract 2, ``configs/candela.json``, and back.

Both say the same of a network that is read slab after slab, so its answers do not change. Its digest does: it is over
the files, and there is one more. Candela takes the migrated bundle for another version of the model.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from models.contract import CANDELA, CONTRACT, Contract2, LesionBlock
from models.metadata import CONTRACT_VERSION, CandelaBlock
from pipeline.errors import BadModel
from pipeline.findings.model import AnswerKind

ANSWER = ("classes", "none", "codes", "recipe", "thresholds", "temperature", "bf16_on_cpu", "grad_cam_layer", "anatomy")
"""Fields of contract 1 that stand under ``answer`` in contract 2."""
SCOPE = ("body_parts", "weightings", "contrast_expected", "validated_protocol", "coverage_mm", "spacing_mm")
"""Those that stand under ``scope``."""
REPORT = ("target", "procedure")
"""Those that stand under ``report``."""


def contract_2(block: CandelaBlock) -> Contract2:
    """``block`` as contract 2."""
    old = block.model_dump(mode="json", exclude_none=True)
    return Contract2.model_validate_json(
        json.dumps(
            {
                "contract": CONTRACT,
                "title": old["title"],
                "answer": {"kind": AnswerKind.LESION, **{key: old[key] for key in ANSWER if key in old}},
                "inputs": [{"key": "image", "channels": [{"name": "image"}]}],
                "scope": {"modalities": [old["modality"]], **{key: old[key] for key in SCOPE if key in old}},
                "report": {key: old[key] for key in REPORT},
                "weights": [old["weights"]],
            }
        )
    )


def contract_1(contract: Contract2) -> dict[str, Any]:
    """A contract of lesions as the candela block of contract 1, not checked yet.

    Raises
    ------
    BadModel
        where it is of another kind of answer.
    """
    if not isinstance(contract.answer, LesionBlock):
        raise BadModel("The bundle is not read slab after slab.", todo="docs/bundles.md describes both ways.")
    new = contract.model_dump(mode="json", exclude_none=True)
    (weights,) = new["weights"][:1]
    return {
        "contract": CONTRACT_VERSION,
        "title": new["title"],
        "modality": new["scope"]["modalities"][0],
        "weights": {key: weights[key] for key in ("file", "sha256")},
        **{key: new["report"][key] for key in REPORT if key in new["report"]},
        **{key: new["answer"][key] for key in ANSWER if key in new["answer"]},
        **{key: new["scope"][key] for key in SCOPE if key in new["scope"]},
    }


def migrate(folder: Path, block: CandelaBlock) -> bool:
    """Write ``block``, that of the bundle in ``folder``, as its candela.json; False where it has one.

    metadata.json stays as it is, so earlier versions of Candela still read the bundle.

    Raises
    ------
    BadModel
        where the file cannot be written.
    """
    path = folder / CANDELA
    if path.exists():
        return False
    content = contract_2(block).model_dump(mode="json", by_alias=True, exclude_none=True)
    making = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        making.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        making.rename(path)
    except OSError as error:
        raise BadModel("candela.json cannot be written.", where=str(path), todo=str(error)) from error
    finally:
        making.unlink(missing_ok=True)
    return True
