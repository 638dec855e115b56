"""Debian's Chromium, headless, driven by Playwright: what a person would see, as pixels."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ARGUMENTS = (
    "--no-sandbox",  # tests may run as root, where Chromium refuses otherwise
    "--use-gl=angle",  # WebGL 2 without a graphics card
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",  # no page reaches beyond this machine
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)


def program() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def start_chromium() -> Iterator[Browser]:
    """A running browser, closed at the end; the test is skipped, with the reason, where it cannot be had."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright here: scripts/setup installs it")
    path = program()
    if path is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, headless=True, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()
