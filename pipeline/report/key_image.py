"""The key picture that travels inside a report."""

from __future__ import annotations

import base64
from dataclasses import dataclass


@dataclass(frozen=True)
class Picture:
    """An encoded picture; ``sop_instance_uid`` is that of the overlay from which it was made."""

    sop_instance_uid: str
    data: bytes
    content_type: str
    width: int
    height: int

    @property
    def data_url(self) -> str:
        return f"data:{self.content_type};base64,{base64.b64encode(self.data).decode('ascii')}"
