"""A sliding window whose channels become labels plane by plane, so that they never lie in memory as a whole.

MONAI's SlidingWindowInferer keeps the output of all channels until the last window: 105 channels of a whole-body CT at
1.5 mm are 12 GB, and a softmax makes a second copy. Where a bundle's postprocessing begins with steps that look at one
voxel at a time and end in one label (Activationsd, AsDiscreted with argmax), they can be applied to each plane as soon
as its last window was read. Positions, weights and padding of the windows are MONAI's own.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

import torch
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers.inferer import SlidingWindowInferer
from monai.inferers.utils import _get_scan_interval
from monai.utils.misc import ensure_tuple_rep, fall_back_tuple
from torch import Tensor, nn
from torch.nn import functional

from models.workflow import rules

AT_ONCE = 8
"""Planes that are turned into labels together."""


def reducing_steps(inferer: Any, postprocessing: Any) -> list[Any]:
    """The first steps of ``postprocessing`` that turn channels into one label, voxel by voxel, if ``inferer`` is a
    window that slides over three axes; empty where there are none.
    """
    if type(inferer) is not SlidingWindowInferer or inferer.with_coord or inferer.buffer_steps:
        return []
    steps: list[Any] = []
    for step in rules.flat(postprocessing):
        if not rules.is_voxelwise(step):
            return []
        steps.append(step)
        if rules.is_argmax(step):
            return steps
    return []


def labels_by_planes(
    inferer: SlidingWindowInferer, batch: Tensor, network: nn.Module, reduce: Callable[[Tensor], Tensor]
) -> Tensor | None:
    """What ``reduce`` makes of ``inferer(batch, network)``, (1, X, Y, Z), for a ``batch`` (1, C, X, Y, Z).

    ``reduce`` takes channels (C, X, Y, n) and gives labels (1, X, Y, n). None where the network's output has another
    grid than its window: only MONAI's inferer knows what to do then.
    """
    size = batch.shape[2:]
    roi = fall_back_tuple(inferer.roi_size, size)
    lacking = [max(side - there, 0) for side, there in zip(roi, size, strict=True)]
    padding = [(count // 2, count - count // 2) for count in lacking]
    sides = [part for pair in reversed(padding) for part in pair]
    padded = functional.pad(batch, sides, mode=inferer.padding_mode, value=inferer.cval) if any(sides) else batch
    whole = tuple(padded.shape[2:])
    interval = _get_scan_interval(whole, roi, 3, ensure_tuple_rep(inferer.overlap, 3))
    windows = sorted(dense_patch_slices(whole, roi, interval), key=lambda item: item[2].start)
    weight = compute_importance_map(roi, mode=inferer.mode, sigma_scale=inferer.sigma_scale, device="cpu").float()
    labels = torch.empty((1, *whole), dtype=torch.float32)
    planes: _Planes | None = None
    for start, layer in groupby(windows, key=lambda item: item[2].start):
        if planes is not None:
            planes.finish(start, labels, reduce)
        for part in _parts(list(layer), inferer.sw_batch_size):
            read = torch.cat([padded[(slice(None), slice(None), *window)] for window in part])
            given = network(read.to(inferer.sw_device))
            if not isinstance(given, Tensor) or tuple(given.shape[2:]) != tuple(roi):
                return None
            if planes is None:
                planes = _Planes(given.shape[1], whole, roi[2])
            for output, window in zip(given.float().cpu(), part, strict=True):
                planes.add(output, weight, window)
    assert planes is not None
    planes.finish(whole[2], labels, reduce)
    kept = [slice(before, before + side) for (before, _), side in zip(padding, size, strict=True)]
    return labels[(slice(None), *kept)]


class _Planes:
    """The planes that windows still add to: ``sums`` of weighted outputs and ``weights``, from plane ``first`` on."""

    def __init__(self, channels: int, whole: tuple[int, ...], depth: int) -> None:
        self.first = 0
        self.sums = torch.zeros((channels, *whole[:2], depth))
        self.weights = torch.zeros((1, *whole[:2], depth))

    def add(self, output: Tensor, weight: Tensor, window: tuple[slice, ...]) -> None:
        x, y, z = window
        here = (slice(None), x, y, slice(z.start - self.first, z.stop - self.first))
        self.sums[here] += output * weight
        self.weights[here] += weight

    def finish(self, until: int, labels: Tensor, reduce: Callable[[Tensor], Tensor]) -> None:
        """Turn the planes before ``until``, which no further window reaches, into ``labels``, and make room."""
        count = min(until - self.first, self.sums.shape[-1])
        for low in range(0, count, AT_ONCE):
            high = min(low + AT_ONCE, count)
            mean = self.sums[..., low:high] / self.weights[..., low:high]
            labels[..., self.first + low : self.first + high] = reduce(mean)
        for planes in (self.sums, self.weights):
            left = planes.shape[-1] - count
            for plane in range(left):  # plane after plane: source and target overlap
                planes[..., plane] = planes[..., plane + count]
            planes[..., left:] = 0
        self.first += count


def _parts(items: list[Any], size: int) -> list[list[Any]]:
    return [items[low : low + size] for low in range(0, len(items), size)]
