"""Settings of what leaves for research."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from dicom_node.settings.base import Section


class Deidentify(Section):
    """De-identification of all that goes to a destination; see `pipeline.export.deidentify`."""

    key: Annotated[SecretStr, Field(min_length=32)]
    """De-identify everything that goes to the destination ([privacy.md](privacy.md)). The key is a secret of at least
    32 characters from which replacement UIDs and patient identifiers are derived; destinations with the same key get
    data that can be linked. Set it by an environment variable: `CANDELA_DESTINATIONS__NAME__DEIDENTIFY__KEY`."""
    source_images: bool = False
    """`true`: also send the images from which the results were made."""
