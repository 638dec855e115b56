"""Fixtures of the tests against real peers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peers.engine import MakeNode, Node


@pytest.fixture
def make_node(database_url: str | None, tmp_path: Path) -> Iterator[MakeNode]:
    """A factory of nodes on one new database; their workers are killed at the end."""
    nodes: list[Node] = []

    def make(destinations: dict[str, dict[str, Any]] | None = None, **jobs: Any) -> Node:
        nodes.append(Node(tmp_path, database_url, destinations, **jobs))
        return nodes[-1]

    yield make
    for node in nodes:
        node.close()
