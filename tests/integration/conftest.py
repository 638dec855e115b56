"""Fixtures of the tests against real peers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import new_database
from tests.peers.engine import MakeNode, Node
from tests.peers.fhir_server import FhirServer, start_fhir_server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.nightly)])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """A new database for the engine. PostgreSQL only in scripts/nightly, but for tests marked `both_databases`."""
    return new_database(request)


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


@pytest.fixture(scope="module")
def own_fhir_server() -> Iterator[FhirServer]:
    """A FHIR R4 server for one file, whose tests look at all that it holds or leave doubles in it."""
    with start_fhir_server() as running:
        yield running
