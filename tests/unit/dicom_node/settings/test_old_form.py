"""Files of 0.1 are read as they were meant, with one warning; and so they are after `candela config migrate`."""

from __future__ import annotations

import tomllib
from copy import deepcopy
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from structlog.testing import capture_logs

from dicom_node.settings import tree
from dicom_node.settings.old_form import modernise
from dicom_node.settings.tree import load
from pipeline.errors import BadSettings
from tests.unit.dicom_node.settings.old_files import meant, old_trees, read, toml

OLD = """
match = "all"
[receive]
plain = false
tls_port = 2762
[[receive.peers]]
ae_title = "PACS"
expected_count = {kind = "c-find", ae_title = "PACS", host = "h", port = 104}
[[receive.peers]]
ae_title = "MR1"
tls = true
[receive.peers.commitment]
ae_title = "MR1"
host = "mr1"
port = 104
[tls]
certificate = "c.pem"
key = "k.pem"
trusted = "t.pem"
[destinations.pacs]
kind = "dicom"
ae_title = "PACS"
host = "h"
port = 104
[remotes.pacs]
kind = "dicom"
ae_title = "PACS"
host = "h"
port = 104
"""


@pytest.fixture(autouse=True)
def _warn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "_warned", set())


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "candela.toml"
    path.write_text(text)
    return path


@given(tree=old_trees())
@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_old_file_is_read_as_it_was_meant(tmp_path: Path, tree: dict) -> None:
    assert read(load(written(tmp_path, toml(tree)))) == meant(tree)


def test_what_stood_four_times_becomes_one_peer(tmp_path: Path) -> None:
    settings = load(written(tmp_path, OLD))
    assert list(settings.peers) == ["pacs", "mr1"]
    assert read(settings) == meant(tomllib.loads(OLD))


def test_the_old_form_is_warned_of_once_by_old_and_new_names(tmp_path: Path) -> None:
    with capture_logs() as logs:
        load(written(tmp_path, OLD))
        load(written(tmp_path, OLD))
    (line,) = [item for item in logs if item["event"] == "settings_in_old_form"]
    assert line["log_level"] == "warning"
    assert line["todo"] == "candela config migrate"
    for names in (
        "match → routing.match",
        "receive.plain → receive.require_tls",
        "receive.peers → peers and receive.allow",
        "destinations.pacs.ae_title, host, port → peers.pacs",
    ):
        assert names in line["settings"]


def test_the_present_form_is_not_warned_of(tmp_path: Path) -> None:
    with capture_logs() as logs:
        load(written(tmp_path, '[peers.a]\nae_title = "A"\n[receive]\nallow = ["a"]\n[routing]\nmatch = "all"\n'))
    assert logs == []


@given(tree=old_trees())
def test_what_is_modern_stays_as_it_is(tree: dict) -> None:
    """Rewritten twice is rewritten once."""
    modernise(tree)
    again = deepcopy(tree)
    assert modernise(again) == []
    assert again == tree


@pytest.mark.parametrize(
    ("name", "value", "look"),
    [
        ("CANDELA_MATCH", "all", lambda settings: settings.routing.match == "all"),
        ("CANDELA_RECEIVE__PLAIN", "true", lambda settings: not settings.receive.require_tls),
        (
            "CANDELA_RECEIVE__PEERS",
            '[{"ae_title": "CT9"}]',
            lambda settings: [item.ae_title for item in settings.receive.allow] == ["CT9"],
        ),
        (
            "CANDELA_DESTINATIONS__PACS__PORT",
            "4242",
            lambda settings: settings.destinations["pacs"].peer.port == 4242,
        ),
    ],
)
def test_old_variables_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, look) -> None:
    monkeypatch.setenv(name, value)
    assert look(load(written(tmp_path, OLD)))


def test_a_peer_and_an_address_together_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a variable of the old form is left over a file of the present one."""
    path = written(
        tmp_path,
        '[peers.a]\nae_title = "A"\nhost = "h"\nport = 104\n[destinations.out]\nkind = "dicom"\npeer = "a"\n',
    )
    monkeypatch.setenv("CANDELA_DESTINATIONS__OUT__PORT", "105")
    with pytest.raises(BadSettings, match=r"destinations\.out names peer 'a' and has port too.*CANDELA_PEERS__A__PORT"):
        load(path)
