"""Record what this release answers and writes: ``python -m tests.golden.make``, after a revision number was raised.

``--unreleased`` records new content under the same number, which is right only before a release has carried it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.findings.identity import ANSWER_REVISION, RESULTS_REVISION
from tests.golden import content

FOLDER = Path(__file__).parent
ANSWERS = FOLDER / "answers.json"
MASKS = FOLDER / "masks.npz"
OBJECTS = FOLDER / "objects.json"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--unreleased", action="store_true", help="the current numbers are in no release yet")
    unreleased = parser.parse_args().unreleased
    answers = content.answers()
    told = {name: {"outcome": one.outcome, "probabilities": one.probabilities} for name, one in answers.items()}
    kept = [
        keep(ANSWERS, {"answer_revision": ANSWER_REVISION, "answers": told}, unreleased=unreleased),
        keep(OBJECTS, {"results_revision": RESULTS_REVISION, "sha256": content.objects()}, unreleased=unreleased),
    ]
    if kept[0]:
        np.savez_compressed(MASKS, **{name: np.packbits(one.mask) for name, one in answers.items()})
    return 0 if all(kept) else 1


def keep(path: Path, new: dict[str, Any], *, unreleased: bool) -> bool:
    """Write ``new``; False where it differs from what was recorded under the same revision number."""
    old = json.loads(path.read_text()) if path.exists() else {}
    number = next(iter(new))
    if old and old != new and old[number] == new[number] and not unreleased:
        print(f"{path.name} differs under {number} {new[number]}: raise it in pipeline/findings/identity.py first")
        return False
    path.write_text(json.dumps(new, indent=1, sort_keys=True) + "\n")
    return True


if __name__ == "__main__":
    sys.exit(main())
