"""Starting an Orthanc where there is none, and the configuration that it gets."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from orthanc import local
from orthanc.local import CONFIG, LocalOrthanc
from pipeline.errors import PeerUnavailable


def configuration() -> dict[str, dict[str, Any]]:
    """The shipped files as Orthanc reads them in an empty environment, by name."""
    texts = {path.name: path.read_text() for path in CONFIG.glob("*.json")}
    without_comments = {name: re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE) for name, text in texts.items()}
    return {
        name: json.loads(re.sub(r"\$\{\w+(?::-(.*?))?\}", lambda match: match[1] or "", text))
        for name, text in without_comments.items()
    }


def test_files_do_not_overlap() -> None:
    """Orthanc refuses a setting that stands in two files of its folder."""
    names = [name for settings in configuration().values() for name in settings]
    assert len(names) == len(set(names)) > 20


def test_closed_by_default() -> None:
    """Without a word in the environment, HTTP is for this machine only and only named peers may ask for images."""
    settings = configuration()["orthanc.json"]
    assert settings["RemoteAccessAllowed"] is False
    assert not any(settings[f"DicomAlwaysAllow{verb}"] for verb in ("Find", "Get", "Move"))


def test_gdcm_decodes_jpeg_2000_only() -> None:
    """Orthanc 1.10 crashes when GDCM is given JPEG-LS."""
    assert all(
        uid.startswith("1.2.840.10008.1.2.4.9")
        for uid in configuration()["gdcm.json"]["Gdcm"]["RestrictTransferSyntaxes"]
    )


def test_without_orthanc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where Orthanc is not installed, the error says what to install, and nothing is left behind."""
    monkeypatch.setattr(local, "program", lambda: None)
    monkeypatch.setattr(local, "PLUGINS", tmp_path / "none")
    assert local.missing_packages() == ("orthanc", "orthanc-python", "orthanc-dicomweb", "orthanc-gdcm")
    with pytest.raises(PeerUnavailable, match="apt-get install orthanc orthanc-python"):
        LocalOrthanc(tmp_path / "data", 1, 2, candela_port=3).start()
    assert not (tmp_path / "data").exists()


def test_orthanc_that_ends_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A program that does not stay is an error that names its log, not a wait of a minute."""
    monkeypatch.setattr(local, "program", lambda: "/bin/false")
    with pytest.raises(PeerUnavailable, match=r"orthanc\.log"):
        LocalOrthanc(tmp_path, 1, 2, candela_port=3, plugins=False).start()
