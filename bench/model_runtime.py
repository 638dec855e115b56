"""How long the brain model takes for 24 slices of 256² on two threads, and how that compares with eager torch.

``python bench/model_runtime.py [MODEL] [--runs N]``: medians of N runs (nine) each, taken in turns, so that other work
on the machine disturbs all ways alike. "Eager" is the network in float32, weights in torch's own layout, without
batches of slabs; "default" is what `models.runtime` does. "Predict" is everything that a series costs: preprocessing,
network, aggregation and Grad-CAM. "Anatomy" is the test that precedes the network, which "predict" includes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from models import registry
from models.anatomy import Likeness
from models.layers import layers
from models.loading import build_network
from models.runtime import ResidentModel, choose_device
from pipeline.geometry.build import build_volume
from pipeline.phantom import head_phantom


def medians(runs: int, *ways: Callable[[], object]) -> list[float]:
    """Median seconds of ``runs`` runs of each way, taken in turns after one to warm up."""
    taken: list[list[float]] = [[] for _ in ways]
    for _ in range(runs + 1):
        for way, times in zip(ways, taken, strict=True):
            start = time.perf_counter()
            way()
            times.append(time.perf_counter() - start)
    return [statistics.median(times[1:]) for times in taken]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="brain_mri_tumor")
    parser.add_argument("--runs", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    bundle = registry.get(arguments.model).bundle
    volume = build_volume(head_phantom(slices=24, matrix=256))
    plain = build_network(bundle)
    model = ResidentModel(bundle, choose_device("cpu", cuda=False))
    inputs, plan = model.inputs(volume)

    def eager() -> object:
        with torch.inference_mode():
            return plain(inputs)

    cpu = torch.device("cpu")
    likeness = Likeness(bundle, bundle.contract.anatomy, cpu) if bundle.contract.anatomy else None

    def anatomy() -> object:
        slabs = (inputs[:, 0] - inputs.flatten(1).amin(1).view(-1, 1, 1)).numpy()
        found = layers(slabs, bundle.contract.recipe.pixel_mm, picture=plan.fit.filled)
        return found, likeness and likeness.distances(inputs)

    slow, fast, whole, test = medians(
        arguments.runs, eager, lambda: model.answers(inputs), lambda: model.predict(volume), anatomy
    )
    print(f"eager    {slow:.3f} s")
    print(f"default  {fast:.3f} s   {slow / fast:.1f} times as fast as eager")
    print(f"anatomy  {test:.3f} s   {test / whole:.0%} of predict, {test / fast:.0%} of the network's answer")
    print(f"predict  {whole:.3f} s in all for 24 slices of 256²")


if __name__ == "__main__":
    main()
