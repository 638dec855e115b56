"""The models that a worker holds in memory: loaded when first needed, within a budget; the least used one leaves."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from pipeline.ports import SeriesModel

log = structlog.get_logger("candela.models")


@dataclass
class Residents:
    """Models by name. ``load`` loads one, ``size`` gives the bytes of its weights files, before it is loaded.

    ``budget`` bounds the sum of the weights in bytes; the model that is in use stays, whatever its size. What a run
    takes beside the weights is not counted.
    """

    load: Callable[[str], SeriesModel]
    size: Callable[[str], int]
    budget: int
    _held: OrderedDict[str, tuple[SeriesModel, int]] = field(default_factory=OrderedDict)

    def __call__(self, name: str) -> SeriesModel:
        """The model called ``name``, which becomes the one that was used last; raises as ``load``."""
        if name not in self._held:
            size = self.size(name)
            self._make_room(size)
            self._held[name] = (self.load(name), size)
        self._held.move_to_end(name)
        return self._held[name][0]

    def fits(self, name: str) -> bool:
        """Whether the model called ``name`` is in memory, or there is room for it beside the others."""
        return name in self._held or self._used + self.size(name) <= self.budget

    @property
    def names(self) -> tuple[str, ...]:
        """The models in memory, the least recently used first."""
        return tuple(self._held)

    def _make_room(self, size: int) -> None:
        """Let the least recently used models go until ``size`` bytes more fit into the budget."""
        while self._held and self._used + size > self.budget:
            name, _ = self._held.popitem(last=False)
            log.info("model_left_memory", model=name)

    @property
    def _used(self) -> int:
        return sum(size for _, size in self._held.values())
