"""How long the results of one series take to build, and how large they are, each kind beside the others.

``python bench/results.py [--slices 175] [--matrix 256] [--lesions 1] [--runs 5] [--profile generic-pacs]``: made series
and made findings; no model runs. Medians of CPU seconds of this process and of wall seconds, their share of the whole,
and the bytes of the files.
On a busy machine the CPU seconds are the figure; the budget is 3 s of wall time for 175 slices on two idle cores.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from pydicom.dataset import Dataset  # noqa: E402
from scipy.ndimage import gaussian_filter  # noqa: E402

from pipeline import phantom  # noqa: E402
from pipeline.findings.identity import RunIdentity, instances_digest  # noqa: E402
from pipeline.findings.measure import measure_lesions  # noqa: E402
from pipeline.findings.model import (  # noqa: E402
    BoolArray,
    ClassProbability,
    Findings,
    ModelIdentity,
    Outcome,
)
from pipeline.geometry.build import build_volume  # noqa: E402
from pipeline.patient.source_values import cleaned_volume  # noqa: E402
from pipeline.results.build import BUILDERS, ByKind  # noqa: E402
from pipeline.results.profile import DEFAULT_PRESET, KINDS, PRESETS  # noqa: E402
from pipeline.results.provenance import ResultContext  # noqa: E402
from pipeline.results.result_object import ResultObject  # noqa: E402

BUDGET_S = 3.0


def made(slices: int, matrix: int, lesions: int) -> ResultContext:
    """A run over a phantom with ``lesions`` balls outlined, on a grid through the head."""
    few = np.stack([ds.pixel_array for ds in phantom.head_phantom(slices=12, matrix=matrix)])
    datasets = phantom.series_from_arrays(
        few[np.arange(slices) * len(few) // slices],
        plane="axial",
        pixel_spacing=phantom.FIELD_OF_VIEW / matrix,
        slice_spacing=phantom.COVERAGE["axial"] / slices,
        header=phantom.Header(key="bench"),
    )
    if lesions == 1:
        return context_of(datasets, phantom.lesion_mask(datasets))
    mask = np.zeros((slices, matrix, matrix), bool)
    rows = np.linspace(0.3, 0.7, max(1, round(lesions**0.5)))
    radius = max(1, matrix // 64)
    for number in range(lesions):
        row, column = (round(matrix * rows[part % len(rows)]) for part in divmod(number, len(rows)))
        middle = slices // 2
        mask[max(0, middle - 4) : middle + 4, row - radius : row + radius, column - radius : column + radius] = True
    return context_of(datasets, mask)


def context_of(datasets: Sequence[Dataset], mask: BoolArray) -> ResultContext:
    """A run over ``datasets`` that outlined ``mask``, with a heat map around it."""
    volume = cleaned_volume(build_volume(datasets))
    model = ModelIdentity(name="bench", title="Bench", version="0.1.0", digest="0" * 64, parameters=())
    uids = [str(ds.SOPInstanceUID) for ds in datasets]
    run = RunIdentity(volume.series_instance_uid, instances_digest(uids), model.digest)
    lesions = measure_lesions(mask, volume, "glioma", run)
    heatmap = gaussian_filter(mask.astype(np.float32), (1, 6, 6))
    findings = Findings(
        outcome=Outcome.FINDING,
        predicted_class="glioma",
        probabilities=(ClassProbability("glioma", 0.9), ClassProbability("no_tumor", 0.1)),
        regions=lesions,
        heatmap=(heatmap / heatmap.max()).astype(np.float32),
        key_slice=lesions[0].key_slice,
        model=model,
        caveats=(),
    )
    return ResultContext(volume, findings, run)


def file_bytes(ds: Dataset) -> bytes:
    """The DICOM file that ``ds`` is written as."""
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--slices", type=int, default=175)
    parser.add_argument("--matrix", type=int, default=256)
    parser.add_argument("--lesions", type=int, default=1)
    parser.add_argument("--profile", choices=PRESETS, default=DEFAULT_PRESET)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    base = made(options.slices, options.matrix, options.lesions)
    cpu: dict[str, list[float]] = {}
    wall: dict[str, list[float]] = {}
    size: dict[str, int] = {}
    profile = PRESETS[options.profile]
    for _ in range(options.runs + 1):
        context = ResultContext(base.volume, base.findings, base.run, profile=profile)  # nothing kept from before
        objects: ByKind = {}
        for kind in (kind for kind in KINDS if profile.gets(kind)):
            objects[kind] = timed(kind, lambda: BUILDERS[kind](context, objects), cpu, wall)  # noqa: B023  (called at once)
            size[kind] = sum(len(file_bytes(item.dataset)) for item in objects[kind])
    medians = {name: (statistics.median(cpu[name][1:]), statistics.median(wall[name][1:])) for name in cpu}
    whole_cpu, whole_wall = (sum(pair[index] for pair in medians.values()) for index in (0, 1))
    count = len(base.findings.regions)
    print(f"{options.slices} slices of {options.matrix}², {count} lesion(s), {options.runs} runs; seconds, medians")
    for name, (used, took) in medians.items():
        share = used / whole_cpu
        print(f"{name:13s} cpu {used:6.3f}  wall {took:6.3f}  share {share:4.0%}  {size[name] / 1e6:7.3f} MB")
    print(f"{'all':13s} cpu {whole_cpu:6.3f}  wall {whole_wall:6.3f}        {sum(size.values()) / 1e6:13.3f} MB")
    print(
        f"of the budget of {BUDGET_S:.0f} s: cpu {whole_cpu / BUDGET_S:.2f}, wall {whole_wall / BUDGET_S:.2f}", end=""
    )
    print(f"  (load {os.getloadavg()[0]:.1f})")


def timed(
    name: str,
    build: Callable[[], tuple[ResultObject, ...]],
    cpu: dict[str, list[float]],
    wall: dict[str, list[float]],
) -> tuple[ResultObject, ...]:
    """What ``build`` makes; its seconds are added to ``cpu`` and ``wall``."""
    used, took = time.process_time(), time.perf_counter()
    result = build()
    cpu.setdefault(name, []).append(time.process_time() - used)
    wall.setdefault(name, []).append(time.perf_counter() - took)
    return result


if __name__ == "__main__":
    main()
