"""Random change of training batches on the fly: appearance, shape, and what is healthy and what is not.

The tumour slices come from one hospital and the others from elsewhere: without these changes a network learns the
source. Tumour slices become negatives (the healthy half, or a look-alike's tissue, over the lesion), healthy ones
positives (a lesion pasted in), and what is no head at all is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

ALIKE = 0.8
"""Correlation from which one head's tissue may stand in for that of another."""


@dataclass
class Batch:
    """Images 0..1 (N, 1, M, M), masks 0 or 1 (N, 1, M, M), and what is true of them.

    ``allowed`` (N, classes) is 1 where a class may be the truth (a pasted lesion is some tumour, none knows which);
    ``head`` (N,) is 1 for slices through a head.
    """

    images: Tensor
    masks: Tensor
    allowed: Tensor
    head: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on ``device``."""
        return Batch(*(part.to(device, non_blocking=True) for part in vars(self).values()))

    def pin_memory(self) -> Batch:
        """The same in memory that a GPU reads while others work; `torch.utils.data.DataLoader` calls this."""
        return Batch(*(part.pin_memory() for part in vars(self).values()))


def mirror_over_lesion(batch: Batch, symmetric: Tensor, share: float, rng: torch.Generator) -> None:
    """Make negatives of tumour slices: where the picture is symmetric, the other half is blended over the lesion."""
    for k in torch.nonzero(symmetric & (torch.rand(len(symmetric), generator=rng) < share)).flatten().tolist():
        mask, image = batch.masks[k : k + 1], batch.images[k : k + 1]
        if not mask.any():
            continue
        cover = _softened(mask, grow=11)
        twin = image.flip(-1)
        if (cover * _grown(mask.flip(-1), 7)).any():
            continue  # the lesion reaches over the middle: its mirror image is no healthy tissue
        _hide(batch, k, cover, twin)


def cover_lesions(batch: Batch, donors: Tensor, donor_masks: Tensor, share: float, rng: torch.Generator) -> None:
    """Make negatives of tumour slices in any plane: a look-alike's tissue is blended over the lesion.

    It comes from the same place of the donor that is most alike and has no lesion near; brightness is matched around
    the lesion. Where no donor is alike, the slice stays as it is.
    """
    has = batch.masks.flatten(1).any(1)
    chosen = torch.nonzero(has & (torch.rand(len(has), generator=rng) < share)).flatten()
    likeness = _likeness(batch.images[chosen], donors)
    for k, alike in zip(chosen.tolist(), likeness, strict=True):
        mask, image = batch.masks[k : k + 1], batch.images[k : k + 1]
        free = (donor_masks * _grown(mask, 15)).flatten(1).sum(1) == 0
        d = int(torch.where(free, alike, -1.0).argmax())
        if not free[d] or float(alike[d]) < ALIKE:
            continue
        cover = _softened(mask, grow=11)
        rim = (_grown(mask, 15) - _grown(mask, 7)).bool()
        if rim.any():
            scale = image[rim].mean() / donors[d : d + 1][rim].mean().clamp(min=1e-3)
            _hide(batch, k, cover, (donors[d] * scale).clamp(0, 1.3))


def paste_lesions(batch: Batch, donors: Tensor, donor_masks: Tensor, share: float, rng: torch.Generator) -> None:
    """Make positives of healthy slices: a donor's lesion with its rim is blended in where the head is.

    Brightness is matched to the receiver's. Which tumour it is then, nobody can say: any is allowed.
    """
    healthy = torch.nonzero((batch.allowed[:, -1] == 1) & (batch.head == 1)).flatten()
    for k in healthy.tolist():
        if float(torch.rand(1, generator=rng)) >= share:
            continue
        d = int(torch.randint(len(donors), (1,), generator=rng))
        image, lesion, mask = batch.images[k : k + 1], donors[d : d + 1], donor_masks[d : d + 1]
        inside = image > 0.12 * image.max()
        if not mask.any() or float((inside * mask).sum() / mask.sum()) < 0.9:
            continue
        cover = _softened(mask, grow=5)
        rim = (_grown(mask, 13) - mask).bool()
        if not rim.any():
            continue
        scale = image[rim].mean() / lesion[rim].mean().clamp(min=1e-3)
        batch.images[k : k + 1] = image * (1 - cover) + (lesion * scale).clamp(0, 1.3) * cover
        batch.masks[k : k + 1] = mask
        batch.allowed[k] = 1
        batch.allowed[k, -1] = 0


def outliers(heads: Tensor, rng: torch.Generator) -> Tensor:
    """As many pictures that are no head: containers with inserts, limbs, patterns, noise, heads cut up."""
    made = []
    for head in heads:
        kind = float(torch.rand(1, generator=rng))
        if kind < 0.15:
            made.append(_jigsaw(head, rng))
        elif kind < 0.4:
            made.append(_container(head, rng))
        elif kind < 0.6:
            made.append(_pattern(head, rng))
        elif kind < 0.68:
            made.append(_board(head, rng))
        elif kind < 0.76:
            made.append(_noise(head, rng))
        else:
            made.append(_limb(head, rng))
    return torch.stack(made) if made else heads[:0]


def change_shape(batch: Batch, rng: torch.Generator, strength: float = 1.0) -> None:
    """Turn, scale, shift, mirror and bend images and masks together; all but the mirroring goes with ``strength``."""
    n, size = len(batch.images), batch.images.shape[-1]
    angle = _spread(n, 0.4 * strength, rng)
    scale, aspect = torch.exp(_spread(n, 0.28 * strength, rng)), torch.exp(_spread(n, 0.08 * strength, rng))
    mirror = torch.where(torch.rand(n, generator=rng) < 0.5, -1.0, 1.0)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = torch.cos(angle) * scale * mirror * aspect
    theta[:, 0, 1] = -torch.sin(angle) * scale
    theta[:, 1, 0] = torch.sin(angle) * scale * mirror
    theta[:, 1, 1] = torch.cos(angle) * scale / aspect
    theta[:, :, 2] = (torch.rand(n, 2, generator=rng) - 0.5) * 0.24 * strength
    grid = functional.affine_grid(theta, list(batch.images.shape), align_corners=False)
    bend = _smooth(torch.randn(n, 2, 6, 6, generator=rng) * 0.018 * strength, size)
    grid = grid + bend.permute(0, 2, 3, 1)
    both = functional.grid_sample(torch.cat([batch.images, batch.masks], dim=1), grid, align_corners=False)
    batch.images, batch.masks = both[:, :1].contiguous(), (both[:, 1:] > 0.5).float()


def change_look(batch: Batch, rng: torch.Generator, share: float = 1.0) -> None:
    """Gamma, coil bias, resolution, noise, window and border of a ``share`` of pictures: what differs by scanner."""
    chosen = torch.nonzero(torch.rand(len(batch.images), generator=rng) < share).flatten()
    images = batch.images[chosen]
    n, size = len(images), images.shape[-1]
    if not n:
        return
    images = images.clamp(0, 1.3) ** torch.exp(_spread(n, 0.6, rng)).view(-1, 1, 1, 1)
    images = images * torch.exp(_smooth(torch.randn(n, 1, 4, 4, generator=rng) * 0.2, size))
    if float(torch.rand(1, generator=rng)) < 0.6:
        factor = float(torch.rand(1, generator=rng)) * 1.6 + 1.2
        small = functional.interpolate(images, scale_factor=1 / factor, mode="bilinear", antialias=True)
        blurred = functional.interpolate(small, size=(size, size), mode="bilinear")
        part = torch.rand(n, 1, 1, 1, generator=rng)
        images = images * (1 - part) + blurred * part
    if float(torch.rand(1, generator=rng)) < 0.3:  # the network's own texture: sharpened
        soft = functional.avg_pool2d(images, 3, 1, 1)
        images = images + torch.rand(n, 1, 1, 1, generator=rng) * (images - soft)
    images = images + torch.randn(images.shape, generator=rng) * torch.rand(n, 1, 1, 1, generator=rng) * 0.05
    images = images.abs()  # magnitude images: noise is never negative (Rician)
    for k in torch.nonzero(torch.rand(n, generator=rng) < 0.35).flatten().tolist():
        edge = torch.randint(0, size // 9, (4,), generator=rng).tolist()
        kept = torch.zeros(1, size, size)
        kept[:, edge[0] : size - edge[1], edge[2] : size - edge[3]] = 1
        images[k] *= kept
        batch.masks[chosen[k]] *= kept  # what is cut off cannot be outlined
    ceiling = 0.7 + 0.6 * torch.rand(n, 1, 1, 1, generator=rng)
    batch.images[chosen] = torch.minimum(images, ceiling * images.flatten(1).amax(1).view(-1, 1, 1, 1))


def _hide(batch: Batch, k: int, cover: Tensor, tissue: Tensor) -> None:
    """Blend ``tissue`` over the lesion of picture ``k``, which is one without a tumour then."""
    batch.images[k : k + 1] = batch.images[k : k + 1] * (1 - cover) + tissue * cover
    batch.masks[k] = 0
    batch.allowed[k] = 0
    batch.allowed[k, -1] = 1


def _spread(n: int, width: float, rng: torch.Generator) -> Tensor:
    return (torch.rand(n, generator=rng) * 2 - 1) * width


def _likeness(images: Tensor, others: Tensor) -> Tensor:
    """Correlation of each of ``images`` (N, 1, M, M) with each of ``others`` (K, 1, M, M), both made small: (N, K)."""
    small = [functional.adaptive_avg_pool2d(part, 32).flatten(1) for part in (images, others)]
    first, second = (functional.normalize(part - part.mean(1, keepdim=True), dim=1) for part in small)
    return first @ second.T


def _smooth(knots: Tensor, size: int) -> Tensor:
    """``knots`` (N, C, k, k) as a bicubic surface, (N, C, size, size).

    A matrix for each axis does what `torch.nn.functional.interpolate` does, many times as fast on a CPU.
    """
    k = knots.shape[-1]
    along = functional.interpolate(torch.eye(k).view(1, k, k, 1), size=(size, 1), mode="bicubic")[0, :, :, 0]
    return along.T @ knots @ along


def _grown(mask: Tensor, width: int) -> Tensor:
    """``mask`` widened by a square of ``width`` pixels, an odd number: rows, then columns."""
    rows = functional.max_pool2d(mask, (width, 1), 1, (width // 2, 0))
    return functional.max_pool2d(rows, (1, width), 1, (0, width // 2))


def _softened(mask: Tensor, *, grow: int) -> Tensor:
    return functional.avg_pool2d(_grown(mask, grow), 7, 1, 3)


def _jigsaw(head: Tensor, rng: torch.Generator) -> Tensor:
    side = head.shape[-1] // 4
    pieces = head.unfold(1, side, side).unfold(2, side, side).reshape(16, side, side)
    pieces = pieces[torch.randperm(16, generator=rng)].view(4, 4, side, side)
    return pieces.permute(0, 2, 1, 3).reshape(1, 4 * side, 4 * side)


def _distance(like: Tensor, centre: Tensor, radii: Tensor, power: float) -> Tensor:
    """1 on the border of a superellipse, in coordinates -1..1."""
    axis = torch.linspace(-1, 1, like.shape[-1])
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    across = ((y - centre[0]).abs() / radii[0]) ** power + ((x - centre[1]).abs() / radii[1]) ** power
    return across ** (1 / power)


def _container(like: Tensor, rng: torch.Generator) -> Tensor:
    """A phantom: a round or square vessel, evenly filled, with rods, blocks or a grid inside."""
    power = 2.0 if float(torch.rand(1, generator=rng)) < 0.6 else 8.0
    radius = 0.45 + 0.5 * torch.rand(2, generator=rng)
    if power == 2.0:
        radius[1] = radius[0] * (0.95 + 0.1 * float(torch.rand(1, generator=rng)))
    middle = torch.zeros(2)
    outer = _distance(like, middle, radius, power)
    picture = (outer < 1).float() * (0.3 + 0.7 * float(torch.rand(1, generator=rng)))
    if float(torch.rand(1, generator=rng)) < 0.5:
        picture[(outer < 1) & (outer > 0.93)] = float(torch.rand(1, generator=rng))
    for _ in range(int(torch.randint(0, 9, (1,), generator=rng))):
        centre = (torch.rand(2, generator=rng) - 0.5) * 1.2 * radius
        size = (0.03 + 0.2 * torch.rand(1, generator=rng)).repeat(2)
        inside = (_distance(like, centre, size, 2.0 if power == 2.0 else 6.0) < 1) & (outer < 1)
        picture[inside] = float(torch.rand(1, generator=rng))
    if float(torch.rand(1, generator=rng)) < 0.3:
        step = int(torch.randint(6, 16, (1,), generator=rng))
        picture[::step] *= 0.3
        picture[:, ::step] *= 0.3
    return picture[None]


def _pattern(like: Tensor, rng: torch.Generator) -> Tensor:
    """Something that fills the frame: an even or cloudy ground with bars across or along it, no air around."""
    clouds = functional.interpolate(
        torch.rand(1, 1, 5, 5, generator=rng), size=like.shape[-2:], mode="bicubic", align_corners=False
    )[0, 0]
    part = float(torch.rand(1, generator=rng))
    picture = 0.1 + 0.5 * float(torch.rand(1, generator=rng)) * (part * clouds + 1 - part)
    for _ in range(int(torch.randint(0, 5, (1,), generator=rng))):
        start, width = torch.randint(0, like.shape[-1], (2,), generator=rng).tolist()
        picture[:, start : start + 1 + width // 10] = float(torch.rand(1, generator=rng))
    if float(torch.rand(1, generator=rng)) < 0.5:
        picture = picture.T
    return picture[None]


def _board(like: Tensor, rng: torch.Generator) -> Tensor:
    """Squares like a chessboard's, in two greys."""
    rows, columns = torch.randint(4, 1 + like.shape[-1] // 3, (2,), generator=rng).tolist()
    axis = torch.arange(like.shape[-1])
    parity = (axis[:, None] // rows + axis[None] // columns) % 2
    greys = torch.rand(2, generator=rng)
    return torch.where(parity == 0, greys[0], greys[1])[None]


def _noise(like: Tensor, rng: torch.Generator) -> Tensor:
    """Noise of any grain, all over or in a round as wide as a head."""
    grain = int(torch.randint(4, 1 + like.shape[-1], (1,), generator=rng))
    picture = functional.interpolate(
        torch.rand(1, 1, grain, grain, generator=rng), size=like.shape[-2:], mode="bilinear", align_corners=False
    )[0]
    if float(torch.rand(1, generator=rng)) < 0.5:
        radii = 0.5 + 0.4 * torch.rand(2, generator=rng)
        picture = picture * (_distance(like, torch.zeros(2), radii, 2.0) < 1)
    return picture


def _limb(like: Tensor, rng: torch.Generator) -> Tensor:
    """A soft-tissue cross-section with bones: bright or dark discs with rims in a grey outline."""
    turn = 0.3 + 0.5 * torch.rand(2, generator=rng)
    outline = _distance(
        like, (torch.rand(2, generator=rng) - 0.5) * 0.4, turn, 2.0 + 2 * float(torch.rand(1, generator=rng))
    )
    texture = functional.interpolate(
        torch.rand(1, 1, 20, 20, generator=rng), size=like.shape[-2:], mode="bicubic", align_corners=False
    )[0, 0]
    picture = (outline < 1) * (0.25 + 0.5 * texture)
    for _ in range(int(torch.randint(1, 8, (1,), generator=rng))):
        centre = (torch.rand(2, generator=rng) - 0.5) * 1.4 * turn
        size = (0.06 + 0.14 * torch.rand(1, generator=rng)) * (0.7 + 0.6 * torch.rand(2, generator=rng))
        bone = _distance(like, centre, size, 2.0)
        picture[(bone < 1) & (outline < 1)] = 0.6 + 0.4 * float(torch.rand(1, generator=rng))
        picture[(bone < 1.2) & (bone >= 1) & (outline < 1)] = 0.05
    return picture[None]
