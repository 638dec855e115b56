"""Settings of where images are fetched from: `candela fetch`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from dicom_node.settings.base import Section
from dicom_node.settings.peers import Caller, Listener
from dicom_node.settings.quantities import Seconds

UNNAMED = "DICOMWEB"
"""Calling AE title of instances from a DICOMweb archive that names no peer."""


class DicomRemote(Section):
    """A PACS that images are fetched from: C-FIND, then C-GET or C-MOVE."""

    kind: Literal["dicom"]
    """Kind of archive: `dicom` (C-FIND, then C-GET or C-MOVE) or `dicomweb` (QIDO-RS and WADO-RS)."""
    peer: Listener
    """Name of the archive in `[peers.NAME]`. Fetched instances enter the node under the AE title of this peer, which
    must be in `receive.allow`."""
    retrieve: Literal["auto", "get", "move"] = "auto"
    """`get`, `move`, or `auto`: C-GET if the PACS offers it, else C-MOVE to `receive.ae_title`, which the PACS must
    know."""
    timeout: Annotated[Seconds, Field(gt=0)] = 60.0
    """Maximum time to wait for an answer, or for the next instance."""

    @property
    def ae_title(self) -> str:
        """The calling AE title under which its instances enter the node."""
        return self.peer.ae_title


class DicomWebRemote(Section):
    """An archive that images are fetched from by QIDO-RS and WADO-RS."""

    kind: Literal["dicomweb"]
    url: Annotated[str, Field(pattern=r"^https?://")]
    """URL in front of `/studies`, such as `http://127.0.0.1:8042/dicom-web`."""
    peer: Caller | None = None
    """Name of the archive in `[peers.NAME]`. Fetched instances enter the node under the AE title of this peer, which
    must be in `receive.allow`."""
    username: str = ""
    """User name for HTTP basic authentication."""
    password: SecretStr = SecretStr("")
    """Password. Set it by an environment variable rather than in the file."""
    bearer_token: SecretStr | None = None
    """Static bearer token, in place of user name and password."""
    timeout: Annotated[Seconds, Field(gt=0)] = 60.0
    """Maximum time to wait for an answer, or for the next instance."""

    @property
    def ae_title(self) -> str:
        """The calling AE title under which its instances enter the node."""
        return UNNAMED if self.peer is None else self.peer.ae_title


Remote = Annotated[DicomRemote | DicomWebRemote, Field(discriminator="kind")]
