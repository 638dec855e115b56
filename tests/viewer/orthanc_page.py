"""Orthanc's own web viewer, a series at a time."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING

from tests.peers.orthanc import OrthancPeer
from tests.viewer.ohif_page import WITHIN, until
from tests.viewer.pictures import Picture, from_png

if TYPE_CHECKING:
    from playwright.sync_api import Page

IMAGE = "window.cornerstone?.getEnabledElements?.()[0]?.image?.imageId ?? null"


class OrthancPage:
    """One browser page with Orthanc's viewer in it. ``shots`` is the folder that `shot` writes to."""

    def __init__(self, page: Page, archive: OrthancPeer, shots: Path) -> None:
        self.page, self._archive, self._shots = page, archive, shots
        page.set_default_timeout(WITHIN * 1000)

    def open(self, series_instance_uid: str) -> None:
        """Open a series; `image` tells when its first image is there."""
        with self._archive.client() as client:
            series = client.find_series(series_instance_uid)
        assert series is not None
        self.page.goto(f"{self._archive.url}/web-viewer/app/viewer.html?series={series.orthanc_id}")

    def image(self) -> str | None:
        """The viewer's name for the image that it shows, None where it shows none."""
        name: str | None = self.page.evaluate(IMAGE)
        return name

    def next_image(self) -> None:
        """Turn the mouse wheel by one, and wait until another image is there."""
        before = self.image()
        self.page.mouse.move(400, 300)
        self.page.mouse.wheel(0, 100)
        until(self.page, lambda: self.image() != before, "the next image does not come")

    def picture(self) -> Picture:
        """The canvas, without the viewer's own writing on it."""
        png = self.page.evaluate("document.querySelector('canvas').toDataURL('image/png').split(',')[1]")
        return from_png(base64.b64decode(png))

    def shot(self, name: str) -> None:
        """Keep the whole page as ``name``.png, for people."""
        self.page.screenshot(path=self._shots / f"orthanc-{name}.png")
