"""Short and long forms of a table of cases: scripts/test runs those that it names, scripts/nightly the others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def short(values: Iterable[Any], *each_run: Any) -> list[Any]:
    """Parameters for `pytest.mark.parametrize`: those of ``each_run`` in every run, the others `nightly`.

    Raises
    ------
    ValueError
        where a value of ``each_run`` is none of ``values``: it would be in no run at all.
    """
    every = list(values)
    unknown = [value for value in each_run if value not in every]
    if unknown:
        raise ValueError(f"none of the cases: {unknown}")
    return [value if value in each_run else pytest.param(value, marks=pytest.mark.nightly) for value in every]
