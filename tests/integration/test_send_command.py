"""`candela send PEER PATH`, and the order of version 0.2."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dicom_node.cli import app
from tests.peers.engine_worker import capture
from tests.peers.pacs import Pacs

Candela = Callable[..., Result]


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    with Pacs() as running:
        yield running


@pytest.fixture
def send(tmp_path: Path, pacs: Pacs, monkeypatch: pytest.MonkeyPatch) -> Candela:
    """`candela send` in a folder with a result in ``results``, and the peers ``pacs`` and ``archive``."""
    capture(tmp_path / "results" / "1.dcm", sop_instance_uid="1.2.3.1", series_instance_uid="1.2.3")
    table = f'ae_title = "PACS"\nhost = "127.0.0.1"\nport = {pacs.port}\n'
    (tmp_path / "candela.toml").write_text(f"[peers.pacs]\n{table}[peers.archive]\n{table}")
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, ["send", *arguments])


def test_the_peer_comes_first(send: Candela, pacs: Pacs) -> None:
    for peer in ("pacs", f"PACS@127.0.0.1:{pacs.port}"):
        done = send(peer, "results")
        assert (done.exit_code, done.stdout, done.stderr) == (0, "1 instance stored, 0x0000\n", "")


def test_the_old_order_is_understood_with_a_warning(send: Candela, pacs: Pacs, tmp_path: Path) -> None:
    """Also where there is a folder of the peer's name."""
    for peer in ("pacs", f"PACS@127.0.0.1:{pacs.port}"):
        done = send("results", peer)
        assert (done.exit_code, done.stdout) == (0, "1 instance stored, 0x0000\n")
        assert "give PEER PATH" in done.stderr
    (tmp_path / "pacs").mkdir()
    assert send("results", "pacs").stdout == "1 instance stored, 0x0000\n"
    assert pacs.stored == {"1.2.3.1": 3}


def test_what_can_be_read_both_ways_is_the_new_order(send: Candela, pacs: Pacs, tmp_path: Path) -> None:
    """Two peers, and a folder of each one's name: ``archive`` is the peer, and the folder ``pacs`` is sent."""
    for name in ("pacs", "archive"):
        (tmp_path / name).mkdir()
    capture(tmp_path / "pacs" / "2.dcm", sop_instance_uid="1.2.3.2", series_instance_uid="1.2.3")
    done = send("archive", "pacs")
    assert (done.exit_code, done.stderr) == (0, "")
    assert pacs.stored == {"1.2.3.2": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("pacs", "nowhere"), "there is nothing at nowhere"), (("pax", "results"), "There is no peer 'pax'")],
)
def test_what_is_neither_is_told(send: Candela, arguments: tuple[str, str], message: str) -> None:
    done = send(*arguments)
    assert done.exit_code != 0
    assert message in done.stderr + str(done.exception)


def test_nothing_that_can_be_sent_is_told(send: Candela, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "There is no DICOM file here" in str(send("pacs", "empty").exception)
