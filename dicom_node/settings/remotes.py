"""Settings of where images are fetched from: `candela fetch`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from dicom_node.settings.access import DicomPeer
from dicom_node.settings.base import AETitle, Section


class DicomRemote(DicomPeer):
    """A PACS that images are fetched from: C-FIND, then C-GET or C-MOVE.

    ``retrieve``: ``auto`` takes C-GET where the PACS offers it. ``timeout`` in seconds is that of each answer.
    """

    kind: Literal["dicom"]
    retrieve: Literal["auto", "get", "move"] = "auto"
    timeout: Annotated[float, Field(gt=0)] = 60.0


class DicomWebRemote(Section):
    """An archive that images are fetched from by QIDO-RS and WADO-RS. ``url``: what stands before ``/studies``.

    ``ae_title`` is the calling AE title under which its instances enter the node, for rules and ``receive.peers``.
    """

    kind: Literal["dicomweb"]
    url: Annotated[str, Field(pattern=r"^https?://")]
    ae_title: AETitle = "DICOMWEB"
    username: str = ""
    password: SecretStr = SecretStr("")
    bearer_token: SecretStr | None = None
    timeout: Annotated[float, Field(gt=0)] = 60.0


Remote = Annotated[DicomRemote | DicomWebRemote, Field(discriminator="kind")]
