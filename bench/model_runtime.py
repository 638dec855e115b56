"""How long the brain model takes for 24 slices of 256² on two threads, and how that compares with eager torch.

``python bench/model_runtime.py``: the fastest of nine runs each, taken in turns, so that
other work on the machine disturbs least. "Eager" is the network in float32, weights in torch's own
layout, without batches of slabs; "default" is what `models.runtime` does. "Predict" is everything that a series costs:
preprocessing, network, aggregation and Grad-CAM.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from models import registry
from models.runtime import ResidentModel, build_network, choose_device
from pipeline.geometry import build_volume
from pipeline.phantom import head_phantom
from pipeline.preprocess import sampling

RUNS = 9


def fastest(*ways: Callable[[], object]) -> list[float]:
    """Seconds of the fastest of `RUNS` runs of each way, taken in turns after one to warm up."""
    taken: list[list[float]] = [[] for _ in ways]
    for _ in range(RUNS + 1):
        for way, times in zip(ways, taken, strict=True):
            start = time.perf_counter()
            way()
            times.append(time.perf_counter() - start)
    return [min(times[1:]) for times in taken]


def main() -> None:
    torch.set_num_threads(2)
    bundle = registry.get("brain_mri_tumor").bundle
    volume = build_volume(head_phantom(slices=24, matrix=256))
    inputs = sampling(volume, bundle.contract.recipe).inputs(volume.array)
    plain = build_network(bundle)
    model = ResidentModel(bundle, choose_device("cpu", cuda=False))

    def eager() -> object:
        with torch.inference_mode():
            return plain(inputs)

    slow, fast, whole = fastest(eager, lambda: model.answers(inputs), lambda: model.predict(volume))
    print(f"eager    {slow:.3f} s")
    print(f"default  {fast:.3f} s   {slow / fast:.1f} times as fast as eager")
    print(f"predict  {whole:.3f} s in all for 24 slices of 256²")


if __name__ == "__main__":
    main()
