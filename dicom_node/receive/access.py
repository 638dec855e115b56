"""Who may open an association."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.settings import Receive


@dataclass(frozen=True)
class Rejection:
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""

    result: int
    source: int
    reason: int


UNKNOWN_CALLING_AE = Rejection(0x01, 0x01, 0x03)
"""Rejected permanent, by the service user: calling AE title not recognized."""
UNKNOWN_CALLED_AE = Rejection(0x01, 0x01, 0x07)
"""Rejected permanent, by the service user: called AE title not recognized."""


def rejection(settings: Receive, calling_ae: str, called_ae: str) -> Rejection | None:
    """Why the association is to be rejected, or None. An empty allow-list lets nobody in."""
    if not settings.accept_any_peer and settings.peer(calling_ae.strip()) is None:
        return UNKNOWN_CALLING_AE
    if called_ae.strip() != settings.ae_title.strip():
        return UNKNOWN_CALLED_AE
    return None
