"""The documents say what is true: commands exist, links lead somewhere, the settings shown are valid."""

from __future__ import annotations

import re
import sys
import textwrap
import tomllib
from pathlib import Path

import click
import pytest
import typer

from dicom_node.cli import app
from dicom_node.settings.old_form import modernise
from dicom_node.settings.tree import load
from tests.conftest import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "models").rglob("docs/*.md")])
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
COMMAND = re.compile(r"`(?:\.venv/bin/)?candela ([a-z|, ]+)")


def block(page: str, language: str) -> list[str]:
    """The fenced code blocks of ``language`` in a page."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def test_links_lead_somewhere() -> None:
    missing = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in PAGES
        for target in LINK.findall(page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert not missing


def test_commands_named_in_the_text_exist() -> None:
    """Every `candela ...` in the documents is a command, sub-commands written as a|b included."""
    root = typer.main.get_command(app)
    assert isinstance(root, click.Group) or hasattr(root, "commands")
    for words in (words for page in PAGES for words in COMMAND.findall(page.read_text())):
        names = [part for word in words.split(" ")[:1] for part in re.split(r"[|,]", word) if part]
        for name in names:
            assert name in root.list_commands(None), f"candela {name}"
        group = root.get_command(None, names[0])
        rest = words.split(" ")[1:2]
        if hasattr(group, "commands") and rest and rest[0]:
            for name in filter(None, re.split(r"[|,]", rest[0])):
                assert name in group.commands, f"candela {names[0]} {name}"


def test_the_readmes_two_commands_exist_and_are_executable() -> None:
    """scripts/demo and scripts/test are all the set-up there is."""
    (commands,) = [text for text in block("README.md", "sh") if "scripts/demo" in text]
    for name in re.findall(r"^(scripts/\w+)", commands, re.MULTILINE):
        assert (ROOT / name).stat().st_mode & 0o111
    assert set(re.findall(r"^(scripts/\w+)", commands, re.MULTILINE)) == {"scripts/demo", "scripts/test"}
    assert "scripts/test" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("page", ["docs/settings.md", "docs/routing.md", "docs/first-hour.md", "docs/notifications.md"])
def test_the_settings_file_shown_is_valid(page: str, tmp_path: Path) -> None:
    for number, text in enumerate(block(page, "toml")):
        path = tmp_path / f"{number}.toml"
        path.write_text(text)
        settings = load(path)
        assert settings.rules
        assert settings.receive.allow


def test_no_settings_shown_are_of_the_old_form() -> None:
    """In blocks of TOML, also indented ones, and in deploy/candela.toml."""
    pages = [(page, page.read_text()) for page in PAGES]
    blocks = [
        (page, textwrap.dedent(text))
        for page, content in pages
        for text in re.findall(r"^ *```toml\n(.*?)^ *```", content, re.DOTALL | re.MULTILINE)
    ]
    assert len(blocks) > 10
    blocks.append((ROOT / "deploy", (ROOT / "deploy" / "candela.toml").read_text()))
    assert [
        (str(page), modernise(tomllib.loads(text))) for page, text in blocks if modernise(tomllib.loads(text))
    ] == []


def test_no_page_names_a_registry_host() -> None:
    hosts = ["pypi" + ".org", "registry." + "npmjs", "deb." + "debian"]
    files = [path for path in ROOT.rglob("*") if path.suffix in {".md", ".toml", ".lock", ".json", ".py", ".yml"}]
    own = [path for path in files if not {".venv", "node_modules", ".git"} & set(path.parts)]
    assert [str(path) for path in own if any(host in path.read_text(errors="replace") for host in hosts)] == []


def test_help_of_every_command_is_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command explains itself; none fails to import what it needs for that."""
    root = typer.main.get_command(app)
    groups = {name: root.get_command(None, name) for name in root.list_commands(None)}
    assert {"process", "jobs", "echo"} <= set(groups)
    paths = [[name] for name in groups]
    paths += [[name, sub] for name, group in groups.items() for sub in getattr(group, "commands", {})]
    from dicom_node.cli import main

    for path in paths:
        monkeypatch.setattr(sys, "argv", ["candela", *path, "--help"])
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 0
        assert "Usage" in capsys.readouterr().out
