"""What every example training does: train, measure, write the bundle; and its command line."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from models.training.examples.files import Example, write
from models.workflow.run import ResidentWorkflow


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


@dataclass(frozen=True)
class Training:
    """The training of an example bundle.

    ``network`` makes its network with random weights, ``train`` one trained by a plan with the preprocessing of the
    bundle in a folder. ``measure`` gives the lines of the model card on drawings of the seeds in a range; the first
    seed that is not in training is ``held_out``. ``drawn`` is what is drawn, such as ``heads``.
    """

    example: Example
    plan: Plan
    network: Callable[[], nn.Module]
    train: Callable[[Path, Plan], nn.Module]
    measure: Callable[[ResidentWorkflow, range], str]
    held_out: int
    drawn: str

    def make(self, out: Path, plan: Plan) -> None:
        """Train, measure on ``plan.held_out`` drawings of other seeds, and write the bundle to ``out``."""
        write(self.example, out, self.network())
        begun = time.monotonic()
        net = self.train(out, plan)
        seconds = time.monotonic() - begun
        workflow = ResidentWorkflow(write(self.example, out, net), torch.device("cpu"))
        figures = self.measure(workflow, range(self.held_out, self.held_out + plan.held_out))
        trained = f"Training: {plan.cases} {self.drawn}, {plan.steps} steps, {seconds:.0f} s."
        write(self.example, out, net, f"{figures}\n\n{trained}")

    def main(self, about: str | None) -> None:
        """Read the command line, train by it and say what comes next."""
        parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--out", type=Path, required=True, help="folder of the bundle; its name is the model's")
        parser.add_argument("--steps", type=int, default=self.plan.steps, help=f"training steps ({self.plan.steps})")
        parser.add_argument("--seed", type=int, default=self.plan.seed)
        parser.add_argument("--threads", type=int, default=torch.get_num_threads())
        arguments = parser.parse_args()
        torch.set_num_threads(arguments.threads)
        self.make(arguments.out, replace(self.plan, steps=arguments.steps, seed=arguments.seed))
        print(f"{arguments.out} is written. Next: candela models add {arguments.out}")  # noqa: T201
