"""OHIF as its reader uses it: open a study, double-click a series, answer its question, scroll; and what it then drew.

Waiting looks at the page's own state (OHIF offers its services on ``window``) or at the pixels, never at a clock.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydicom.dataset import Dataset

from tests.viewer.pictures import Picture, from_png

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

Value = TypeVar("Value")
WITHIN = 120.0
"""Seconds. A page takes a few on an idle machine; where training and other tests run beside it, many times that."""

SHOWN = """() => {
  const services = window.services;
  if (!services?.viewportGridService?.serviceImplementation?._getState) return null;  // still starting
  const id = services.viewportGridService.getActiveViewportId();
  const viewport = id && services.cornerstoneViewportService.getCornerstoneViewport(id);
  if (!viewport?.element) return null;
  const canvas = viewport.element.querySelector('canvas.cornerstone-canvas');
  return {
    type: viewport.type,
    slices: viewport.getNumberOfSlices?.() ?? 0,
    image: viewport.getCurrentImageId?.() ?? null,
    png: canvas ? canvas.toDataURL('image/png').split(',')[1] : null,
  };
}"""
LISTED = "() => window.services?.displaySetService?.getActiveDisplaySets()?.length ?? 0"
DISPLAY_SET = """uid => {
  const sets = window.services?.displaySetService?.getActiveDisplaySets() ?? [];
  return sets.find(set => set.SeriesInstanceUID === uid)?.displaySetInstanceUID ?? null;
}"""
UNSUPPORTED = """uid => Boolean(window.services.displaySetService.getActiveDisplaySets()
  .find(set => set.SeriesInstanceUID === uid).unsupported)"""
JUMP = """number => {
  const services = window.services;
  const id = services.viewportGridService.getActiveViewportId();
  const viewport = services.cornerstoneViewportService.getCornerstoneViewport(id);
  return window.cornerstone.utilities.jumpToSlice(viewport.element, { imageIndex: number });
}"""
GO_TO = """uid => {
  const services = window.services;
  const id = services.viewportGridService.getActiveViewportId();
  const viewport = services.cornerstoneViewportService.getCornerstoneViewport(id);
  const index = viewport.getImageIds().findIndex(name => name.includes(`/instances/${uid}/`));
  if (index < 0) throw new Error('no such image in this viewport');
  return viewport.setImageIdIndex(index).then(() => index);
}"""


class OhifPage:
    """One browser page with OHIF in it. ``shots`` is the folder that `shot` writes to."""

    def __init__(self, page: Page, url: str, shots: Path) -> None:
        self.page = page
        self.errors: list[str] = []
        self.jumped = 0
        self._url = url
        self._shots = shots
        page.set_default_timeout(WITHIN * 1000)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self, study_instance_uid: str) -> None:
        """Open a study and wait until its series are listed and its first images are drawn."""
        address = f"{self._url}/viewer?StudyInstanceUIDs={study_instance_uid}"
        self.page.goto(address, wait_until="domcontentloaded")
        self.until(lambda: self.page.evaluate(LISTED), "OHIF lists no series")
        self.until(self._drawn, "OHIF drew nothing")
        tour = self.page.get_by_text("Skip all")
        if tour.count():
            tour.first.click()

    def open_series(self, ds: Dataset) -> None:
        """Double-click the series of ``ds``."""
        entry = self.entry(ds)
        entry.scroll_into_view_if_needed()
        entry.dblclick()

    def entry(self, ds: Dataset) -> Locator:
        """The series of ``ds`` in the list at the left, once it is there."""
        name = self.until(
            lambda: self.page.evaluate(DISPLAY_SET, str(ds.SeriesInstanceUID)), f"OHIF does not list {ds.Modality}"
        )
        return self.page.locator(f"[id='thumbnail-{name}']")

    def is_supported(self, ds: Dataset) -> bool:
        """Whether OHIF knows what to do with the series of ``ds``; it puts a warning beside the others in its list."""
        self.entry(ds)
        return not self.page.evaluate(UNSUPPORTED, str(ds.SeriesInstanceUID))

    def load_segmentation(self) -> None:
        """Answer "Do you want to open this Segmentation?" with Yes, and wait until the question is gone."""
        yes = self.page.locator('[data-cy="yes-hydrate-btn"]').first
        yes.click()
        yes.wait_for(state="detached")

    def show(self, ds: Dataset) -> None:
        """Scroll the active viewport to the image of ``ds``."""
        self.page.evaluate(GO_TO, str(ds.SOPInstanceUID))

    def jump(self, number: int) -> None:
        """Show plane ``number``, from 0, of a volume, as OHIF counts them; kept in ``jumped``."""
        self.jumped = number
        self.page.evaluate(JUMP, number)

    def picture(self) -> Picture:
        """The active viewport's canvas, without OHIF's own writing on it."""
        shown = self.page.evaluate(SHOWN)
        assert shown, "no viewport"
        assert shown["png"], "no canvas"
        return from_png(base64.b64decode(shown["png"]))

    def viewport_type(self) -> str | None:
        """``stack`` or ``orthographic``; None where the active viewport shows no image."""
        shown = self.page.evaluate(SHOWN)
        return shown["type"] if shown else None

    def text(self) -> str:
        """All words on the page."""
        return self.page.locator("body").inner_text()

    def shot(self, name: str) -> Picture:
        """Keep the whole page as ``name``.png, for people, and return it."""
        data = self.page.screenshot(path=self._shots / f"ohif-{name}.png")
        return from_png(data)

    def until(self, attempt: Callable[[], Value], complaint: str, within: float = WITHIN) -> Value:
        """What ``attempt`` returns once it is true; an assertion error with ``complaint`` where it never is.

        ``complaint`` may hold ``{}``, for what ``attempt`` returned last.
        """
        return until(self.page, attempt, complaint, within)

    def _drawn(self) -> bool:
        shown: dict[str, Any] | None = self.page.evaluate(SHOWN)
        return bool(shown and shown["png"] and from_png(base64.b64decode(shown["png"])).std() > 1)


def until(page: Page, attempt: Callable[[], Value], complaint: str, within: float = WITHIN) -> Value:
    """See `OhifPage.until`. The page goes on working meanwhile."""
    deadline = time.monotonic() + within
    while True:
        value = attempt()
        if value:
            return value
        assert time.monotonic() < deadline, complaint.format(value)
        page.wait_for_timeout(100)
