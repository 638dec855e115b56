"""`candela config` says which rules and destinations are disabled."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from dicom_node.commands.config import app
from dicom_node.settings.tree import load
from pipeline import phantom
from pipeline.errors import BadSettings

TEXT = """
data_dir = "data"
[destinations.old]
kind = "fhir"
url = "http://127.0.0.1:9/fhir"
bearer_token_file = "/nowhere/token"
enabled = false
[destinations.new]
kind = "folder"
path = "new"
[[rules]]
name = "off"
enabled = false
model = "a_model_that_is_gone"
[[rules]]
name = "on"
model = "brain_mri_tumor"
destinations = ["old", "new"]
"""


def run(tmp_path: Path, *arguments: str):
    config = tmp_path / "candela.toml"
    config.write_text(TEXT)
    return CliRunner().invoke(app, [*arguments, "--config", str(config)])


def test_check_names_what_is_disabled_and_does_not_ask_for_its_model_or_secrets(tmp_path: Path) -> None:
    done = run(tmp_path, "check")
    assert done.exit_code == 0, done.output
    assert "rule 'off' is disabled: it takes no series" in done.output
    assert "destination 'old' is disabled: new results are not sent to it" in done.output


def test_explain_shows_a_disabled_rule_and_destination(tmp_path: Path) -> None:
    phantom.save(phantom.head_phantom(slices=3, matrix=16), tmp_path / "series")
    done = run(tmp_path, "explain", str(tmp_path / "series"))
    assert done.exit_code == 0, done.output
    assert "is disabled: takes no series" in done.output
    assert "results to new (disabled, gets nothing: old)" in done.output


RIS = """
[destinations.ris]
kind = "hl7v2"
host = "127.0.0.1"
port = 2575
"""


@pytest.mark.parametrize(
    ("before", "after", "noted"),
    [
        ("", "", ("assigning_authority", "time_zone")),
        ("", 'assigning_authority = "MARY"', ("time_zone",)),
        ('time_zone = "Europe/Berlin"', 'assigning_authority = "MARY"', ()),
        ("", "enabled = false", ()),
    ],
)
def test_check_says_what_an_hl7v2_receiver_may_not_be_able_to_tell(
    tmp_path: Path, before: str, after: str, noted: tuple[str, ...]
) -> None:
    """Whose Patient ID it is, and in which zone a clock is; of a destination that gets results."""
    config = tmp_path / "candela.toml"
    config.write_text(f'data_dir = "data"\n{before}\n{RIS}{after}\n')
    done = CliRunner().invoke(app, ["check", "--config", str(config)])
    assert done.exit_code == 0, done.output
    for name in ("assigning_authority", "time_zone"):
        assert (f"note: destination 'ris': {name}" in done.output) is (name in noted)


@pytest.mark.parametrize("name", ["Berlin", "+01:00", "Europe", "../etc/passwd", ""])
def test_a_time_zone_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    config = tmp_path / "candela.toml"
    config.write_text(f'data_dir = "data"\ntime_zone = "{name}"\n')
    with pytest.raises(BadSettings, match="time_zone: there is no time zone"):
        load(config)
