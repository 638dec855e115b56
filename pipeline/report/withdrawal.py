"""The withdrawal of a run's results: why, when and by whom; a file beside the results (``withdrawal.json``)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from pipeline.errors import Broken
from pipeline.findings import codes
from pipeline.findings.codes import Code

FILENAME: Final = "withdrawal.json"
WHY_MOST: Final = 200
"""Characters of a reason: a line of a page, and within the text fields of every receiver."""


class Reason(StrEnum):
    """Why results are withdrawn."""

    QUALITY = "quality"
    PATIENT_SAFETY = "patient-safety"
    WRONG_PATIENT = "wrong-patient"
    WRONG_ORDER = "wrong-order"

    @property
    def document_title(self) -> Code:
        """The document title of the rejection note (PS3.16 CID 7010; docs/adr/0067-results-are-withdrawn.md)."""
        return TITLES[self]


TITLES: Final = {
    Reason.QUALITY: codes.REJECTED_FOR_QUALITY,
    Reason.PATIENT_SAFETY: codes.REJECTED_FOR_PATIENT_SAFETY,
    Reason.WRONG_PATIENT: codes.REJECTED_FOR_PATIENT_SAFETY,
    Reason.WRONG_ORDER: codes.INCORRECT_WORKLIST_ENTRY,
}


@dataclass(frozen=True)
class Withdrawal:
    """One withdrawal, the same in every message about it.

    ``why`` is one line of text for readers; ``at`` has a time zone; ``by`` is the user or the sender that withdrew.
    """

    job_id: str
    reason: Reason
    why: str
    at: datetime
    by: str

    def to_json(self) -> bytes:
        """The content of ``withdrawal.json``."""
        return json.dumps({**asdict(self), "at": self.at.isoformat()}, indent=1, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes, *, where: str = "") -> Withdrawal:
        """What `to_json` wrote.

        Raises
        ------
        Broken
            where ``data`` is something else; ``where`` names the file in the error.
        """
        try:
            content = json.loads(data)
            at, reason = datetime.fromisoformat(content["at"]), Reason(content["reason"])
            return cls(str(content["job_id"]), reason, str(content["why"]), at, str(content["by"]))
        except (ValueError, KeyError, TypeError):
            raise Broken(
                "The record of the withdrawal cannot be read.", where=where, todo="Restore it from a backup."
            ) from None


def withdrawal_in(files: Iterable[Path]) -> Withdrawal | None:
    """The withdrawal among the ``files`` of a delivery; None where the delivery sends results."""
    path = next((path for path in files if path.name == FILENAME), None)
    return None if path is None else Withdrawal.from_json(path.read_bytes(), where=str(path))
