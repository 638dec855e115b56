"""The page with what hospitals ask: its ports, defaults and settings are those of the code."""

from __future__ import annotations

import re

from dicom_node.settings import page
from dicom_node.settings.access import Metrics, Retention
from dicom_node.settings.engine import Jobs
from dicom_node.settings.receive import Receive, Stow
from dicom_node.settings.web import Web
from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "checklist.md").read_text()


def test_ports_are_the_defaults() -> None:
    assert f"{Receive().port} (`receive.port`)" in TEXT
    assert f"{Stow().port} (`receive.stow.port`), off by default, loopback only" in TEXT
    assert (Receive().stow, Stow().host) == (None, "127.0.0.1")
    assert f"{Web().port} (`web.port`), off by default, loopback only" in TEXT
    assert (Web().enabled, Web().host) == (False, "127.0.0.1")
    assert "`metrics.port`, off by default, loopback only" in TEXT
    assert (Metrics().port, Metrics().host) == (None, "127.0.0.1")


def test_limits_are_the_defaults() -> None:
    assert f"{Jobs().delivery_tries} tries over 15 hours" in TEXT
    assert f"above {Retention().refuse_above:.0%}".replace("%", " %") in TEXT


def test_settings_named_exist() -> None:
    known = {item.name for item in page.settings()}
    groups = {name.split(".")[0] for name in known}
    named = re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)`", TEXT)
    named = [name for name in named if not name.endswith((".toml", ".md"))]
    assert len(named) >= 5
    assert [name for name in named if name not in known] == []
    assert [name for name in re.findall(r"`\[([a-z]+)\]`", TEXT) if name not in groups] == []
