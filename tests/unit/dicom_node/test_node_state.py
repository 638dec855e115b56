"""What `candela status` says of the node itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from dicom_node.commands.node_state import lines
from dicom_node.commitment.ledger import Reference, Report, Request, RequestLedger
from dicom_node.settings.access import Retention, Tls
from dicom_node.settings.tree import Settings
from tests.peers.tls import Authority


def test_a_disk_that_is_too_full_is_told_in_capitals(tmp_path: Path) -> None:
    (calm,) = lines(Settings(data_dir=tmp_path, retention=Retention(refuse_above=1.0, purge_above=0.9)))
    assert "in use (delivered series are purged above 90%, senders are turned away from 100%)" in calm
    (full,) = lines(Settings(data_dir=tmp_path, retention=Retention(refuse_above=0.000001)))
    assert full.endswith("TOO FULL, NEW SENDERS ARE TURNED AWAY")


def test_certificates_are_told_with_their_end(tmp_path: Path) -> None:
    """Valid, about to end, ended, and not to be read."""
    now = datetime.now(UTC)
    identity = Authority(tmp_path / "tls").issue("candela.test", expires=now + timedelta(days=40))
    settings = Settings(data_dir=tmp_path, tls=identity.tls())

    def told(when: datetime, known: Settings = settings) -> str:
        return next(line for line in lines(known, when) if str(identity.certificate) in line)

    assert "valid until" in told(now)
    assert "EXPIRES in 10 day(s)" in told(now + timedelta(days=29, hours=12))
    assert "EXPIRED" in told(now + timedelta(days=41))
    identity.certificate.write_text("nonsense")
    assert told(now, Settings(data_dir=tmp_path, tls=Tls(**vars(identity)))).endswith("CANNOT BE READ")


def test_commitments_that_are_open_are_counted(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    asking = RequestLedger(settings.commitments_dir / "asking")
    request = Request("1.2.3", (Reference("1.2", "1.2.4"),))
    asking.begin("pacs", "PACS", request)
    assert any("1 request(s) to PACS are not answered yet" in line for line in lines(settings))
    assert asking.report("PACS", Report("1.2.3", request.references))
    assert len(list(lines(settings))) == 1
