"""Settings of what leaves for research."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from dicom_node.settings.base import Section


class Deidentify(Section):
    """De-identification of all that goes to a destination; see `pipeline.export.deidentify`.

    ``key`` is what stand-ins for UIDs and patients are derived from: destinations of one key get data that can be
    linked, others not. ``source_images`` sends the images too that the results were made from.
    """

    key: Annotated[SecretStr, Field(min_length=32)]
    source_images: bool = False
