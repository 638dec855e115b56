"""The models that a worker keeps: within a budget, the one that was used longest ago leaves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from models.residents import Residents
from pipeline.errors import BadModel

SIZES = {"small": 10, "middle": 40, "large": 60, "huge": 500}


class Loader:
    """Counts how often each model was loaded."""

    def __init__(self) -> None:
        self.loaded: list[str] = []

    def __call__(self, name: str) -> Any:
        if name == "broken":
            raise BadModel("broken", where=name, todo="")
        self.loaded.append(name)
        return SimpleNamespace(name=name)


def residents(budget: int) -> tuple[Residents, Loader]:
    loader = Loader()
    return Residents(loader, lambda name: SIZES.get(name, 1), budget), loader


def test_a_model_is_loaded_once() -> None:
    held, loader = residents(100)
    assert held("small") is held("small")
    assert loader.loaded == ["small"]


def test_the_model_that_was_used_longest_ago_leaves() -> None:
    held, loader = residents(100)
    for name in ("small", "middle", "small", "large"):
        assert cast(Any, held(name)).name == name
    assert held.names == ("small", "large")
    held("middle")
    assert held.names == ("large", "middle")
    assert loader.loaded == ["small", "middle", "large", "middle"]


def test_a_model_above_the_budget_is_alone() -> None:
    held, _ = residents(100)
    held("small")
    held("huge")
    assert held.names == ("huge",)
    held("small")
    assert held.names == ("small",)


def test_a_model_that_cannot_be_loaded_is_not_held() -> None:
    held, _ = residents(100)
    with pytest.raises(BadModel):
        held("broken")
    assert held.names == ()


def test_only_what_fits_is_loaded_ahead() -> None:
    held, _ = residents(100)
    held("middle")
    assert held.fits("middle")
    assert held.fits("large")
    held("large")
    assert not held.fits("small")
