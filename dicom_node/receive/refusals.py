"""Refusals of a C-STORE in its response (PS3.4 B.2.3; PS3.7 9.1.1.1.9 and annex C)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110
CLASS_NOT_SUPPORTED: Final = 0x0122
NOT_AUTHORISED: Final = 0x0124
OUT_OF_RESOURCES: Final = 0xA700
DOES_NOT_MATCH: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000

COMMENT_MOST: Final = 64
"""Error Comment (0000,0902) is LO."""


@dataclass(frozen=True)
class StoreRefusal:
    """A status other than success, and why.

    ``comment`` is an ASCII sentence without patient data and without anything that the sender wrote. A comment longer
    than Error Comment allows is cut in the response and whole in the log. ``offending`` names the attribute concerned.
    """

    status: int
    comment: str
    offending: str = ""

    def response(self) -> Dataset:
        """Status (0000,0900), Error Comment (0000,0902) and, where there is one, Offending Element (0000,0901)."""
        response = Dataset()
        response.Status = self.status
        tag = tag_for_keyword(self.offending) if self.offending else None
        if tag is not None:
            response.OffendingElement = [tag]
        response.ErrorComment = self.comment[:COMMENT_MOST]
        return response
