"""The API page says what is true: its examples run, and every name that it calls public exists."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline import phantom
from pipeline.findings.model import Outcome
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "api.md").read_text()
ROW = re.compile(r"^\| (`.+?`) \| ", re.MULTILINE)
NAME = re.compile(r"`([\w.]+)`")


def public() -> list[str]:
    """The dotted names of the page's table; a name without a dot lies beside the one before it in its row."""
    names: list[str] = []
    for row in ROW.findall(PAGE):
        module = ""
        for name in NAME.findall(row):
            names.append(name if "." in name else f"{module}.{name}")
            module = names[-1].rpartition(".")[0]
    return names


@pytest.mark.slow
def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the page's order, on a computed head in the folder that they name."""
    monkeypatch.chdir(tmp_path)
    phantom.save(phantom.head_phantom(matrix=128), tmp_path / "series")
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "docs/api.md", "exec"), names)
    assert names["result"].findings.outcome is Outcome.FINDING
    assert names["bundle"]["type"] == "transaction"
    assert {path.suffix for path in tmp_path.iterdir()} >= {".dcm", ".gz"}
    assert names["copy"].PatientName != names["series"].datasets[0].PatientName


def test_every_public_name_exists() -> None:
    names = public()
    assert len(names) > 15
    for name in names:
        module, _, attribute = name.rpartition(".")
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            assert hasattr(importlib.import_module(module), attribute), name
