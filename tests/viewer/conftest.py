"""The real peers of the viewer tests, one of each for all of them: Orthanc with every acquisition and its results,
OHIF in front of it, and one browser. Screenshots stay in the folder that ``VIEWER_SCREENSHOTS`` names, else in
pytest's temporary folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.peers.chromium import start_chromium
from tests.peers.orthanc import OrthancPeer, require_orthanc, running_orthanc
from tests.viewer.acquisitions import PLANES, acquire, save
from tests.viewer.ohif_page import OhifPage
from tools.ohif import NoOhif, ensure_installed, start_ohif

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

SIZE = {"width": 1200, "height": 800}


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots are kept."""
    named = os.environ.get("VIEWER_SCREENSHOTS")
    folder = Path(named).resolve() if named else tmp_path_factory.mktemp("viewer-screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def archive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancPeer]:
    """An Orthanc that holds each acquisition that this run looks at with its results, in a study of its own."""
    require_orthanc()
    folder = tmp_path_factory.mktemp("viewer")
    shown = [
        item for item in request.session.items if isinstance(item, pytest.Function) and "ohif" in item.fixturenames
    ]
    wanted = {"axial", *(item.callspec.params.get("name") for item in shown if hasattr(item, "callspec"))}
    with running_orthanc(folder / "orthanc", candela_port=1) as peer:
        for name in (name for name in PLANES if name in wanted):
            made = acquire(name)
            everything = name == "axial"  # an overlay page has 4 MB: once is enough
            results = [item.dataset for item in made.processed.objects if everything or item.role == "segmentation"]
            peer.upload(save([*made.datasets, *results], folder / name))
        yield peer


@pytest.fixture(scope="session")
def ohif_url(archive: OrthancPeer) -> Iterator[str]:
    """OHIF in front of the archive."""
    try:
        ensure_installed()
    except NoOhif as error:
        pytest.skip(str(error))
    with start_ohif(archive.url) as url:
        yield url


@pytest.fixture(scope="session")
def context() -> Iterator[BrowserContext]:
    """One browser, one profile: what a page has fetched the next need not fetch again."""
    with start_chromium() as browser:
        yield _context(browser)


def _context(browser: Browser) -> BrowserContext:
    return browser.new_context(viewport=SIZE, device_scale_factor=1)


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    page = context.new_page()
    yield page
    page.close()


@pytest.fixture
def ohif(page: Page, ohif_url: str, shots: Path) -> OhifPage:
    return OhifPage(page, ohif_url, shots)
