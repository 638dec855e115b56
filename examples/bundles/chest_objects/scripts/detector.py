"""An anchor-free detector in plain torch, in the manner of CenterNet (Zhou et al., "Objects as Points", 2019).

The network gives, on a grid of a quarter of the image, for each class a heat map whose peaks are the middles of
objects, and for each place width, height and the rest of the middle. This file is also the bundle's
``scripts/detector.py``: it imports nothing of Candela.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 4


def _level(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class CentreDetector(nn.Module):
    """``classes`` and ``width`` (channels of the first level) give its size; ``most`` objects are given an image.

    ``forward`` takes images (N, 1, X, Y), X and Y multiples of 16. In training mode it gives the maps
    (N, classes + 4, X / 4, Y / 4): logits of the classes, then the two sides' logarithms and the two offsets, both in
    cells. In eval mode it gives, as MONAI's detectors do, a dict an image: ``box`` (n, 4) as x0, y0, x1, y1 in pixels
    of the image with the pixels' centres at whole numbers, ``label`` (n,), ``label_scores`` (n,), the highest score
    first.
    """

    def __init__(self, classes: int, width: int = 12, most: int = 20) -> None:
        super().__init__()
        self.classes, self.most = classes, most
        self.stem = nn.Sequential(_level(1, width, 2), _level(width, 2 * width, 2))
        self.down = nn.Sequential(_level(2 * width, 3 * width, 2), _level(3 * width, 3 * width, 2))
        self.level = nn.Sequential(_level(2 * width, 2 * width, 1))
        last = nn.Conv2d(3 * width, classes + 4, 1)
        self.head = nn.Sequential(_level(5 * width, 3 * width, 1), last)
        if last.bias is not None:
            nn.init.constant_(last.bias[:classes], -3.0)  # few places hold an object

    def forward(self, images: Tensor) -> Tensor | list[dict[str, Tensor]]:
        fine = self.stem(images)
        wide = functional.interpolate(self.down(fine), size=fine.shape[2:], mode="bilinear", align_corners=False)
        maps: Tensor = self.head(torch.cat([self.level(fine), wide], dim=1))
        return maps if self.training else [self._objects(part) for part in maps]

    def _objects(self, maps: Tensor) -> dict[str, Tensor]:
        heat = maps[: self.classes].sigmoid()
        peaks = heat * (functional.max_pool2d(heat[None], 3, stride=1, padding=1)[0] == heat)
        scores, places = peaks.flatten().topk(min(self.most, peaks.numel()))
        cells = maps.shape[1] * maps.shape[2]
        labels, place = places // cells, places % cells
        x, y = place // maps.shape[2], place % maps.shape[2]
        sides = maps[self.classes : self.classes + 2, x, y].clamp(-4, 6).exp() * STRIDE
        offset = maps[self.classes + 2 :, x, y].clamp(-1, 2)
        middle = (torch.stack([x, y]) + offset) * STRIDE - 0.5
        boxes = torch.cat([middle - sides / 2, middle + sides / 2]).T
        return {"box": boxes, "label": labels, "label_scores": scores}


def targets(objects: list[tuple[int, Tensor]], classes: int, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Heat maps (classes, X / 4, Y / 4) and regression targets (5, X / 4, Y / 4) of one image of ``shape`` (X, Y).

    ``objects`` are label and box (x0, y0, x1, y1). The fifth map is 1 where an object's middle lies.
    """
    grid = [side // STRIDE for side in shape]
    heat, told = torch.zeros(classes, *grid), torch.zeros(5, *grid)
    xs, ys = torch.meshgrid(*[torch.arange(side) for side in grid], indexing="ij")
    for label, box in objects:
        low, high = box[:2], box[2:]
        middle = ((low + high) / 2 + 0.5) / STRIDE
        sides = ((high - low) / STRIDE).clamp(min=0.1)
        cell = [min(int(value), side - 1) for value, side in zip(middle.tolist(), grid, strict=True)]
        spread = 0.2 * float(sides.mean()) + 0.4
        bump = torch.exp(-((xs - cell[0]) ** 2 + (ys - cell[1]) ** 2) / (2 * spread**2))
        heat[label] = torch.maximum(heat[label], bump)
        told[:, cell[0], cell[1]] = torch.tensor(
            [*sides.log().tolist(), float(middle[0]) - cell[0], float(middle[1]) - cell[1], 1.0]
        )
    return heat, told


def loss(maps: Tensor, heat: Tensor, told: Tensor) -> Tensor:
    """CenterNet's penalty-reduced focal loss of the heat maps, and the mean error of sides and offsets at objects."""
    classes = heat.shape[1]
    found = maps[:, :classes].sigmoid().clamp(1e-4, 1 - 1e-4)
    hit = heat == 1
    count = hit.sum().clamp(min=1)
    at_objects = -((1 - found) ** 2 * found.log())[hit].sum()
    elsewhere = -((1 - heat) ** 4 * found**2 * (1 - found).log())[~hit].sum()
    here = told[:, 4:5]
    off = ((maps[:, classes:] - told[:, :4]).abs() * here).sum() / here.sum().clamp(min=1)
    return (at_objects + elsewhere) / count + off
