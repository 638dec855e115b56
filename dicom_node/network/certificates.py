"""When the certificates that the settings name expire."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from dicom_node.network import tls
from dicom_node.settings.tree import Settings
from pipeline.errors import BadSettings


def expiries(settings: Settings) -> dict[str, datetime]:
    """By file, the earliest expiry of the certificates in it: those of the node, of the dashboard, of destinations and
    the authorities that they trust. An unreadable file counts as expired at the epoch.
    """
    ends = {}
    for path in dict.fromkeys(_files(settings)):
        try:
            ends[str(path)] = tls.expiry(path)
        except BadSettings:
            ends[str(path)] = datetime.fromtimestamp(0, UTC)
    return ends


def _files(settings: Settings) -> Iterator[Path]:
    if settings.tls is not None:
        yield from (settings.tls.certificate, settings.tls.trusted)
    if settings.web.certificate is not None:
        yield settings.web.certificate
    for target in settings.destinations.values():
        client = getattr(target, "tls", None)
        for name in ("certificate", "trusted"):
            path = getattr(client, name, None)
            if target.enabled and isinstance(path, Path):
                yield path
