"""What every group of settings is made of."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

AETitle = Annotated[
    str, Field(min_length=1, max_length=16, pattern=r"^[\x20-\x5b\x5d-\x7e]*[\x21-\x5b\x5d-\x7e][\x20-\x5b\x5d-\x7e]*$")
]
"""PS3.5 6.2: up to 16 printable ASCII characters, no backslash, not only spaces."""

Port = Annotated[int, Field(ge=1, le=65535)]


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # an unknown name, a path, a folder of zones
        raise ValueError(f"there is no time zone {name!r}: give an IANA name, such as Europe/Berlin") from None
    return name


TimeZone = Annotated[str, AfterValidator(_known_zone)]
"""IANA name of a time zone."""


class Section(BaseModel):
    """A table of candela.toml: unknown keys are errors, values never change after reading.

    The text below each field is its description in docs/settings.md (`dicom_node.settings.page`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Outgoing(Section):
    """What destinations of every kind have."""

    enabled: bool = True
    """`false`: new results are not sent to this destination. Results that already wait for it keep waiting."""
    comment: str = ""
    """A note for people. `candela status` shows it."""
    contact: str = ""
    """Who to call about this destination. `candela status` shows it."""
    rate: Annotated[int, Field(ge=1)] | None = None
    """Maximum number of results a minute, over all workers."""
