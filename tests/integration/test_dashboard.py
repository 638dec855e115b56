"""The dashboard in a browser, before a real node: a series watched from its arrival to its delivery, and what stands in
its way.
"""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe

from dicom_node.settings.web import Role
from dicom_node.web.auth.accounts import Accounts
from pipeline import phantom
from tests.peers import gossip
from tests.peers.chromium import start_chromium
from tests.peers.dashboard import PASSWORD, phantom_bytes
from tests.peers.node import Node, dicom_destination
from tests.peers.pacs import Pacs
from tests.peers.ports import free_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

PATIENT, PATIENT_ID, ACCESSION = "Beobachtet^Berta", "PID-90210", "ACC-90210"
SOON = 90_000
"""Milliseconds for what a loaded machine does in a few seconds."""


@dataclass
class Watched:
    """A node with a dashboard, and the PACS that it delivers to, which does not run yet."""

    node: Node
    pacs: Pacs

    @property
    def address(self) -> str:
        return self.node.settings.web.address


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    pacs = Pacs(port=free_port())
    gossip.secret(PATIENT, PATIENT_ID, ACCESSION)
    web = f"enabled = true\nport = {free_port()}"
    with Node(folder, {"pacs": dicom_destination(pacs.port)}, web=web, delivery_tries=1) as node:
        for role in (Role.OPERATOR, Role.VIEWER):
            Accounts(node.settings.web_dir).add(role, PASSWORD, role)
        place = Watched(node, pacs)
        node.until(lambda: answers(place.address), "the dashboard answers")
        try:
            yield place
        finally:
            pacs.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with start_chromium() as made:
        yield made


def answers(address: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{address}/api/v1/health/ready", trust_env=False).status_code == 200
    return False


def opened(browser: Browser, watched: Watched, role: Role, width: int = 1440) -> tuple[Page, list[str]]:
    """A page after the login, and what its console says."""
    page = browser.new_context(viewport={"width": width, "height": 900}).new_page()
    said: list[str] = []
    page.on("console", lambda line: said.append(line.text) if line.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(watched.address)
    page.get_by_label("Name").fill(role)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{watched.address}/")
    return page, said


def test_a_series_is_watched_from_its_arrival_to_its_delivery(browser: Browser, watched: Watched) -> None:
    """It arrives, is read, cannot be delivered, is tried again by a button, and arrives: without one reload."""
    from playwright.sync_api import expect

    page, said = opened(browser, watched, Role.OPERATOR)
    expect(page.get_by_text("No series yet")).to_be_visible()
    header = phantom.Header(key="watched", patient_name=PATIENT, patient_id=PATIENT_ID, accession_number=ACCESSION)
    watched.node.send(phantom.head_phantom(seed=1, slices=14, matrix=128, header=header))

    row = page.get_by_role("row").filter(has_text="Beobachtet, Berta")
    expect(row).to_be_visible(timeout=SOON)
    expect(row.get_by_text("Failed", exact=True)).to_be_visible(timeout=SOON)
    expect(row.locator(".c-answer")).to_contain_text("%")
    expect(row).to_contain_text("PEER_UNAVAILABLE")
    expect(page.get_by_text("1 study needs attention")).to_be_visible()

    row.get_by_role("link").click()
    expect(page.get_by_text("Not delivered to pacs (attempts: 1)").first).to_be_visible()
    large = page.locator(".viewer > a img")
    assert large.evaluate("image => image.decode().then(() => image.naturalWidth)") > 500

    watched.pacs.start()
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("status")).to_contain_text("Tried again: ")
    expect(page.get_by_text("Delivered to pacs")).to_be_visible(timeout=SOON)
    expect(page.get_by_role("heading", name="Beobachtet, Berta").get_by_text("Done")).to_be_visible(timeout=SOON)

    page.get_by_role("link", name="Destinations").click()
    page.get_by_role("button", name="Test").click()
    expect(page.get_by_role("status")).to_contain_text("PACS")
    page.get_by_role("link", name="Worklist").click()
    expect(page.get_by_text("No failures")).to_be_visible()
    assert said == []


def test_the_worklist_by_keyboard_search_and_filter(browser: Browser, watched: Watched) -> None:
    from playwright.sync_api import expect

    page, said = opened(browser, watched, Role.OPERATOR)
    expect(page.locator("a.row")).to_have_count(1)
    page.keyboard.press("/")
    page.keyboard.type("ACC-00000")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No study matches")).to_be_visible()
    assert "q=ACC-00000" in page.url
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Clear").click()
    page.wait_for_url(f"{watched.address}/")
    expect(page.locator("a.row")).to_have_count(1)
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.get_by_text("1 selected")).to_be_visible()
    page.keyboard.press("Enter")
    page.wait_for_url("**/studies/*")
    page.go_back()
    page.get_by_label("State").select_option("done")
    page.wait_for_url("**state=done**")
    expect(page.locator("a.row")).to_have_count(1)
    assert said == []


def test_an_upload_is_read_and_answered_on_its_page(browser: Browser, watched: Watched) -> None:
    """Two series in one archive, which the reading refuses: the whole way, without the time that a model takes."""
    from playwright.sync_api import expect

    page, said = opened(browser, watched, Role.OPERATOR)
    page.get_by_role("link", name="Try it").click()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened_archive:
        for key in ("one", "two"):
            (ds,) = phantom.head_phantom(slices=1, matrix=16, header=phantom.Header(key=key))
            opened_archive.writestr(key, phantom_bytes(ds))
    file: Any = {"name": "two.zip", "mimeType": "application/zip", "buffer": archive.getvalue()}
    page.locator("input[type=file]").set_input_files(file)
    expect(page.get_by_text("two.zip")).to_be_visible()
    page.get_by_role("button", name="Analyse").click()
    page.wait_for_url("**/try/*")
    expect(page.get_by_text("MIXED_SERIES")).to_be_visible(timeout=SOON)
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Remove").click()
    page.wait_for_url("**/try")
    expect(page.get_by_role("button", name="Analyse")).to_be_visible()
    assert said == []


def test_a_viewer_sees_no_name(browser: Browser, watched: Watched) -> None:
    from playwright.sync_api import expect

    page, _ = opened(browser, watched, Role.VIEWER)
    expect(page.get_by_text("Identity hidden")).to_be_visible()
    for path in ("/", page.locator("a.row").get_attribute("href")):
        page.goto(f"{watched.address}{path}")
        assert "Berta" not in page.content()
        assert PATIENT_ID not in page.content()
    expect(page.get_by_role("button", name="Retry")).to_have_count(0)


@pytest.mark.parametrize(
    ("width", "theme"),
    [
        (1440, "dark"),
        (390, "light"),
        pytest.param(1440, "light", marks=pytest.mark.nightly),
        pytest.param(390, "dark", marks=pytest.mark.nightly),
    ],
)
def test_the_pages_fit_and_are_accessible(browser: Browser, watched: Watched, width: int, theme: str) -> None:
    """Nothing is wider than the window; axe-core finds nothing serious."""
    page, _ = opened(browser, watched, Role.OPERATOR, width)
    page.evaluate(f"localStorage.setItem('theme', '{theme}')")
    study = page.locator("a.row").first.get_attribute("href")
    for path in ("/", study, "/try", "/destinations", "/models/brain_mri_tumor"):
        page.goto(f"{watched.address}{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        found: dict[str, Any] = Axe().run(page).response
        serious = [
            (item["id"], [node["html"] for node in item["nodes"]][:3])
            for item in found["violations"]
            if item["impact"] in ("serious", "critical")
        ]
        assert serious == [], path
