"""The node's own state for `candela status`: disk, certificates, open storage commitments."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from dicom_node.commitment.ledger import RequestLedger
from dicom_node.network import tls
from dicom_node.settings.tree import Settings
from dicom_node.store.disk import Disk


def lines(settings: Settings, now: datetime | None = None) -> Iterator[str]:
    """One line for each notable fact, read from disk, so that the node need not run."""
    yield _disk(settings)
    yield from _certificates(settings, now or datetime.now(UTC))
    waiting = len(list((settings.commitments_dir / "asked").glob("*.json")))
    if waiting:
        yield f"commitment: {waiting} request(s) of modalities are to be reported on"
    asking = RequestLedger(settings.commitments_dir / "asking").open
    if asking:
        yield f"commitment: {asking} request(s) to PACS are not answered yet"


def _disk(settings: Settings) -> str:
    disk, retention = Disk(settings.data_dir, settings.retention), settings.retention
    marks = [f"senders are turned away from {retention.refuse_above:.0%}"]
    if retention.purge_above is not None:
        marks.insert(0, f"delivered series are purged above {retention.purge_above:.0%}")
    state = "" if disk.has_room else ": TOO FULL, NEW SENDERS ARE TURNED AWAY"
    return f"disk of data_dir: {disk.used:.0%} in use ({', '.join(marks)}){state}"


def _certificates(settings: Settings, now: datetime) -> Iterator[str]:
    if settings.tls is None:
        return
    for file, end in tls.expiries(settings.tls).items():
        left = (end - now).total_seconds() / 86400
        if end.timestamp() == 0:
            yield f"certificate {file}: CANNOT BE READ"
        elif left < 0:
            yield f"certificate {file}: EXPIRED on {end:%Y-%m-%d}"
        elif left < settings.tls.warn_days:
            yield f"certificate {file}: EXPIRES in {left:.0f} day(s), on {end:%Y-%m-%d}"
        else:
            yield f"certificate {file}: valid until {end:%Y-%m-%d}"
