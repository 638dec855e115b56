"""Settings of the dashboard and the REST API."""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import quote

from pydantic import ByteSize, Field, SecretStr, model_validator

from dicom_node.settings.base import Port, Section
from dicom_node.settings.quantities import Seconds, Size
from pipeline.report.sentences import Language


class Role(StrEnum):
    """What an account may do: see, act on jobs and destinations, manage accounts and tokens."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


STUDY_PLACE: Final = "{study_instance_uid}"
"""Where the Study Instance UID stands in the URL of a viewer."""


class Viewer(Section):
    """A program that shows a study in the browser: the page of a study links to it."""

    name: Annotated[str, Field(min_length=1, max_length=40)]
    """Name on the link, such as `OHIF`."""
    url: Annotated[str, Field(max_length=500, pattern=r"^https?://[^\s{}\"<>]+(\{study_instance_uid\}[^\s{}\"<>]*)+$")]
    """URL of a study, such as `https://ohif.example/viewer?StudyInstanceUIDs={study_instance_uid}`. The node puts the
    Study Instance UID in the place in braces, and sends no other identifier."""

    def of(self, study_instance_uid: str) -> str:
        """The URL of this study."""
        return self.url.replace(STUDY_PLACE, quote(study_instance_uid, safe=""))


class Web(Section):
    """The dashboard and the REST API, served by a role of their own ([dashboard.md](dashboard.md))."""

    enabled: bool = False
    """`true`: `candela serve` starts the dashboard. `candela web` starts it alone, with either value."""
    host: str = "127.0.0.1"
    """Address on which the dashboard listens. An address that other machines can reach needs `certificate` or
    `proxies`."""
    port: Port = 8105
    """Port on which the dashboard listens."""
    hosts: tuple[str, ...] = ()
    """Host names and addresses by which browsers reach the dashboard, without port. The node refuses requests for
    other names; loopback names and `host` are always accepted."""
    certificate: Path | None = None
    """PEM file of the dashboard's certificate, with its chain. With it the dashboard speaks HTTPS only."""
    key: Path | None = None
    """PEM file of the certificate's private key."""
    key_password: SecretStr | None = None
    """Password of the private key. Set it by an environment variable rather than in the file."""
    proxies: tuple[str, ...] = ()
    """Addresses of reverse proxies that end TLS. The node believes the `X-Forwarded-For` and `X-Forwarded-Proto` of
    these alone."""
    demo: bool = False
    """`true`: no login; whoever reaches the dashboard is an administrator. Only on a loopback address."""
    identity: tuple[Role, ...] = (Role.OPERATOR, Role.ADMIN)
    """Roles that see patient identity, descriptions and result files: of `viewer`, `operator`, `admin`. Others see
    states, answers and times."""
    assess: tuple[Role, ...] = (Role.OPERATOR, Role.ADMIN)
    """Roles that may assess AI answers: of `viewer`, `operator`, `admin`. A site whose readers are viewers names all
    three."""
    public_url: Annotated[str, Field(max_length=60, pattern=r"^(https?://[^\s?#]+[^\s?#/])?$")] = ""
    """URL by which people reach the dashboard, such as `https://candela.hospital.example`, without a slash at its
    end."""
    link_in_reports: bool = False
    """`true`: PDF reports end with a link to the form in which a reader assesses the answer. The URL holds the id of
    the job alone. Needs `public_url`."""
    language: Language | None = None
    """Language of the pages for browsers that ask for none of ours: `en`, `de`, `es` or `fr`. A person can choose
    another one on each page."""
    send_assessments: bool = False
    """`true`: the node sends each assessment, as DICOM SR or FHIR Observation, to the destinations that have received
    results of the job by then. Destinations that get de-identified copies get none."""
    upload_most: Annotated[Size, Field(gt=0)] = ByteSize(1 << 30)
    """Maximum size of a DICOM file or zip archive that is uploaded to be analysed. An archive unpacks to at most four
    times as much."""
    upload_kept: Annotated[Seconds, Field(gt=0)] = 24 * 3600.0
    """Time after which the answer to an upload is removed. The node removes the images as soon as they are read."""
    viewers: tuple[Viewer, ...] = ()
    """Viewers that the page of a study links to, in this order."""
    session_idle: Annotated[Seconds, Field(gt=0)] = 3600.0
    """Time without a request after which a login ends."""
    session_most: Annotated[Seconds, Field(gt=0)] = 12 * 3600.0
    """Maximum time of a login."""

    @model_validator(mode="after")
    def _safe_where_others_reach_it(self) -> Web:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        if self.link_in_reports and not self.public_url:
            raise ValueError("link_in_reports = true needs public_url, which the link begins with")
        if is_loopback(self.host):
            return self
        if self.demo:
            raise ValueError(f"demo = true has no login, and host {self.host} can be reached from other machines")
        if self.certificate is None and not self.proxies:
            raise ValueError(
                f"host {self.host} can be reached from other machines: give certificate and key, or the proxies"
                " that end TLS"
            )
        return self

    def assessment_url(self, job_id: str) -> str:
        """Where readers assess the answer of a job; empty where reports are to have no link."""
        return f"{self.public_url}/jobs/{job_id}/assessment" if self.link_in_reports else ""

    @property
    def scheme(self) -> str:
        """How a browser on this machine reaches the dashboard."""
        return "https" if self.certificate else "http"

    @property
    def address(self) -> str:
        """The dashboard's URL, as this machine reaches it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"
