"""`candela errors` lists every code that the source states, each with its meaning and what to do."""

from __future__ import annotations

import ast
import re

import pytest
import typer
from typer.testing import CliRunner

from dicom_node.cli import app
from dicom_node.commands.errors import codes, errors
from tests.conftest import ROOT

PACKAGES = ("pipeline", "models", "fhir", "orthanc", "dicom_node")


def stated() -> set[str]:
    """The ``code`` of every class in the source, found without importing it."""
    found = set()
    for path in (path for name in PACKAGES for path in (ROOT / name).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found |= {
                    item.value.value
                    for item in node.body
                    if isinstance(item, ast.Assign)
                    and [getattr(target, "id", None) for target in item.targets] == ["code"]
                    and isinstance(item.value, ast.Constant)
                }
    return found - {"CANDELA"}  # the base, which is never raised


def test_every_code_is_listed() -> None:
    assert len(stated()) > 30
    assert set(codes()) == stated()
    shown = CliRunner().invoke(app, ["errors"], env={"COLUMNS": "200"}).output
    assert [code for code in codes() if not re.search(rf"^ *{code} ", shown, re.MULTILINE)] == []


def test_every_code_says_what_it_means_and_what_to_do() -> None:
    for code, item in codes().items():
        assert item.__doc__, code
        assert item.meaning().endswith("."), code
        assert item.remedy.endswith("."), code
        if item.__bases__[0].__name__ != "CandelaError":
            assert "remedy" in vars(item), f"{code} has only what its parent says"


def test_one_code_is_explained() -> None:
    said = CliRunner().invoke(app, ["errors", "missing_slices"]).output
    assert "MISSING_SLICES" in said
    assert "gap along the slice normal" in said
    assert "Send the whole series again" in said
    with pytest.raises(typer.BadParameter, match="no code 'NONE'"):
        errors("NONE")


def test_commands_that_a_remedy_names_exist() -> None:
    root = typer.main.get_command(app)
    for code, item in codes().items():
        for words in re.findall(r"`candela ([a-z]+)(?: ([a-z]+))?", item.remedy):
            group = root.get_command(None, words[0])
            assert group is not None, code
            assert not words[1] or words[1] in group.commands, code


def test_codes_of_the_documents_exist() -> None:
    text = (ROOT / "docs" / "intake.md").read_text()
    named = set(re.findall(r"refuses, `([A-Z_]+)`", text))
    assert named
    assert named <= set(codes())
