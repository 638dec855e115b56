"""`candela web`: accounts and tokens from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from dicom_node.commands.web import app
from dicom_node.settings.web import Role
from dicom_node.web.auth.accounts import Accounts, BadAccount
from dicom_node.web.auth.principal import Scope

WORDS = "four plain words here"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "candela.toml"
    path.write_text(f'data_dir = "{tmp_path / "data"}"\n')
    return path


def run(config: Path, *arguments: str, typed: str = "") -> str:
    ran = CliRunner().invoke(app, [*arguments, "--config", str(config)], input=typed)
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    assert ran.exit_code == 0, ran.output
    return ran.output


def test_an_account_from_its_beginning_to_its_end(config: Path, tmp_path: Path) -> None:
    accounts = Accounts(tmp_path / "data" / "web")
    asked = run(config, "users", "add", "anna", "--role", "admin", typed=f"{WORDS}\n{WORDS}\n")
    assert WORDS not in asked
    assert accounts.verified("anna", WORDS) is not None
    run(config, "users", "password", "anna", "--password-stdin", typed=f"{WORDS} too\n")
    assert accounts.verified("anna", WORDS) is None
    assert accounts.verified("anna", f"{WORDS} too") is not None
    run(config, "users", "role", "anna", "viewer")
    found = accounts.account("anna")
    assert found is not None
    assert found.role is Role.VIEWER
    assert "anna" in run(config, "users", "list")
    run(config, "users", "remove", "anna")
    assert accounts.accounts() == ()


def test_a_token_is_shown_once(config: Path, tmp_path: Path) -> None:
    made = run(config, "tokens", "add", "ris", "--scope", "read", "--scope", "identity", "--days", "30").splitlines()[0]
    found = Accounts(tmp_path / "data" / "web").token(made)
    assert found is not None
    assert found.scopes == (Scope.READ, Scope.IDENTITY)
    listed = run(config, "tokens", "list")
    assert "read, identity" in listed
    assert made not in listed
    run(config, "tokens", "revoke", "ris")
    assert Accounts(tmp_path / "data" / "web").token(made) is None


def test_wrong_values_are_named(config: Path) -> None:
    with pytest.raises(BadAccount, match="12 to 256"):
        run(config, "users", "add", "anna", "--password-stdin", typed="short\n")
    ran = CliRunner().invoke(app, ["tokens", "add", "ris", "--scope", "all", "--config", str(config)])
    assert ran.exit_code == 2
    assert "identity" in ran.output
