"""The command line of the example trainings."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tqdm import tqdm


@dataclass(frozen=True)
class Plan:
    """How a training runs: drawings made once, steps, the highest learning rate, drawings measured at the end."""

    cases: int
    steps: int
    rate: float
    held_out: int
    seed: int = 0

    def told(self, items: range, what: str) -> Iterator[int]:
        """``items`` with a bar on a terminal."""
        yield from tqdm(items, desc=what, disable=not sys.stderr.isatty())


def main(about: str | None, make: Callable[[Path, Plan], None], plan: Plan) -> None:
    """Read the command line, run ``make`` with ``plan`` and say what comes next."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle; its name is the model's")
    parser.add_argument("--steps", type=int, default=plan.steps, help=f"training steps ({plan.steps})")
    parser.add_argument("--seed", type=int, default=plan.seed)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    make(arguments.out, replace(plan, steps=arguments.steps, seed=arguments.seed))
    print(f"{arguments.out} is written. Next: candela models add {arguments.out}")  # noqa: T201
