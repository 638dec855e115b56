"""Fixtures that every test may use. Real peers are in tests/peers/."""

from __future__ import annotations

import gc
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from pydicom.dataset import Dataset

from dicom_node.observability import log as observability
from pipeline import phantom
from pipeline.findings import places
from pipeline.findings.sides import Midline, midline
from pipeline.geometry.volume import Volume
from tests.peers import gossip
from tests.peers.fhir_server import FhirServer, start_fhir_server
from tests.peers.postgres import PostgresAbsent, PostgresServer, shared_server

ROOT = Path(__file__).parent.parent
DATA = ROOT.parent / "shared" / "data"
"""Real images that may not be published; tests that need them are skipped where they are absent."""


hypothesis.settings.register_profile("each_run", max_examples=20, deadline=None)
hypothesis.settings.register_profile("long", max_examples=400, deadline=None)
hypothesis.settings.load_profile("each_run")  # scripts/nightly takes the other

gc.disable()  # while the tests are imported and collected; see `pytest_collection_finish`

ORDER = ("integration", "packaging", "conformance", "property", "unit/models", "unit/pipeline/results")
"""Folders by how long their files take; all others follow."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest first: of several test processes, none is then left alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}

    def place(item: pytest.Item) -> tuple[bool, int]:
        path = item.path.relative_to(ROOT / "tests").as_posix()
        folder = next((number for number, name in enumerate(ORDER) if path.startswith(f"{name}/")), len(ORDER))
        return item.path not in slow, folder

    items.sort(key=place)  # stable: the order within a file stays


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of the garbage collector's searches, and let it search less often.

    It is two million objects that live until the end. To search them again and again took a fifth of all CPU time.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def _logging() -> None:
    observability.configure()


@pytest.fixture(autouse=True, scope="session")
def _nothing_told() -> Iterator[None]:
    """No log line, audit line or database of any node that the tests started holds a patient identifier they sent."""
    write = observability._Stderr.write

    def heard(stream: observability._Stderr, text: str) -> int:
        gossip.said(text)
        return write(stream, text)

    observability._Stderr.write = heard  # type: ignore[method-assign]
    yield
    observability._Stderr.write = write  # type: ignore[method-assign]
    told = gossip.overheard()
    assert not told, "patient identifiers were told:\n" + "\n".join(told[:20])


@pytest.fixture(autouse=True, scope="session")
def _one_midline_an_image() -> Iterator[None]:
    """The midline of the same image is searched for once: most results are of few images, under many headers."""
    known: dict[bytes, Midline | None] = {}

    def remembered(volume: Volume) -> Midline | None:
        shown = (f"{volume.shape} {volume.projection}".encode(), volume.array.tobytes(), volume.affine.tobytes())
        image = hashlib.sha256(b"".join(shown)).digest()
        if image not in known:
            known[image] = midline(volume)
        return known[image]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "midline", remembered)
        yield


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No CANDELA_* variable of the developer's shell, and no proxy, reaches a test."""
    for name in list(os.environ):
        if name.startswith("CANDELA_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real images, beside the checkout."""
    if not DATA.is_dir():
        pytest.skip(f"real images are not at {DATA}")
    return DATA


@pytest.fixture(scope="session")
def axial() -> tuple[Dataset, ...]:
    """The axial phantom with its lesion: 24 instances of 256²."""
    return phantom.head_phantom()


def new_database(request: pytest.FixtureRequest) -> str | None:
    """A new database of the kind that the fixture's parameter names: None is SQLite in the node's folder."""
    if request.param == "sqlite":
        return None
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """A new database of each kind for the engine; skipped without PostgreSQL."""
    return new_database(request)


@pytest.fixture(scope="session")
def fhir_server() -> Iterator[FhirServer]:
    """A FHIR R4 server that every test of this process shares: each takes identifiers of its own."""
    with start_fhir_server() as running:
        yield running


@pytest.fixture
def postgres() -> PostgresServer:
    """The PostgreSQL server of this test run; skipped where there is none."""
    try:
        return shared_server()
    except PostgresAbsent as reason:
        pytest.skip(str(reason))
