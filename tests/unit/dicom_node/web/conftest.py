"""One installation for the tests of a file, and new ones where a test needs its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher

from dicom_node.web.auth import accounts
from tests.peers.dashboard import Dashboard


@pytest.fixture(autouse=True, scope="package")
def _quick_hashes() -> Iterator[None]:
    """Passwords are hashed as ever, with less work: a test logs in a hundred times."""
    quick = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    before = accounts._hasher, accounts._NOBODY
    accounts._hasher, accounts._NOBODY = quick, quick.hash("nobody")  # type: ignore[misc]
    yield
    accounts._hasher, accounts._NOBODY = before  # type: ignore[misc]


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """Shared by the tests of one file, which only add to it."""
    made = Dashboard(tmp_path_factory.mktemp("board") / "node")
    yield made
    made.close()


@pytest.fixture
def make_board(tmp_path: Path) -> Iterator[Callable[..., Dashboard]]:
    """A factory of installations."""
    made: list[Dashboard] = []

    def make(web: str = "", **more: Any) -> Dashboard:
        made.append(Dashboard(tmp_path / f"node-{len(made)}", web, **more))
        return made[-1]

    yield make
    for item in made:
        item.close()
