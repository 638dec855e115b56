"""The client of Orthanc's REST API: pyorthanc, with Candela's errors and types around it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import httpx
from pyorthanc import Orthanc

from pipeline.errors import CandelaError, PeerBusy, PeerUnavailable, Rejected
from pipeline.reading.validation import is_uid

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OrthancSeries:
    """The present state of a series in Orthanc.

    ``orthanc_id`` and ``instances`` are Orthanc's own identifiers, not DICOM UIDs. ``is_stable``: no instance came for
    Orthanc's StableAge.
    """

    orthanc_id: str
    series_instance_uid: str
    modality: str
    description: str
    instances: tuple[str, ...]
    is_stable: bool


class OrthancClient:
    """One Orthanc at ``url`` (``http://host:8042``); closes its connections when left as a context manager.

    Every method raises

    - `PeerUnavailable` where Orthanc cannot be reached or answers 5xx, `PeerBusy` where it answers 429 or 503;
    - `Rejected` where it rejects the request: wrong password, no such resource, a file other than DICOM.
    """

    def __init__(self, url: str, username: str = "", password: str = "", *, timeout: float = 5.0) -> None:
        self.url = url.rstrip("/")
        self._orthanc = Orthanc(
            self.url,
            return_raw_response=True,  # an answer keeps its status, which decides between the errors below
            timeout=timeout,
            trust_env=False,  # Orthanc runs on the hospital's network: a proxy of the environment is for the internet
        )
        self._named = bool(username)
        if username:
            self._orthanc.setup_credentials(username, password)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._orthanc.close()

    def instances_of_series(self, series_instance_uid: str) -> int | None:
        """The number of the series' instances in Orthanc; None where it does not know the series or does not answer.

        Raises no error: a count only helps to decide that a series is complete, and time decides without it.
        """
        try:
            series = self.find_series(series_instance_uid)
        except CandelaError as error:
            log.warning("orthanc gives no instance count: %s %s", error.code, error.what)
            return None
        return len(series.instances) if series else None

    def find_series(self, series_instance_uid: str) -> OrthancSeries | None:
        """The series with this Series Instance UID, or None where Orthanc has none."""
        found = self._find({"SeriesInstanceUID": series_instance_uid})
        return found[0] if found else None

    def is_stable(self, series_instance_uid: str) -> bool:
        """Whether Orthanc has the series and calls it stable."""
        series = self.find_series(series_instance_uid)
        return series is not None and series.is_stable

    def series_of_study(self, study_instance_uid: str) -> tuple[OrthancSeries, ...]:
        """Every series of the study, in no particular order."""
        return self._find({"StudyInstanceUID": study_instance_uid})

    def find_results(self, study_instance_uid: str) -> tuple[OrthancSeries, ...]:
        """The study's series that an algorithm made, recognised by the "AI" at the beginning of their description."""
        return tuple(
            series
            for series in self.series_of_study(study_instance_uid)
            if series.description.partition(" ")[0] == "AI"
        )

    def download(self, instance: str) -> bytes:
        """The DICOM file of an instance (Orthanc's identifier)."""
        return self._call(self._orthanc.get_instances_id_file, instance).content

    def modalities(self) -> tuple[str, ...]:
        """Names of the DICOM peers that Orthanc knows (its DicomModalities)."""
        return tuple(self._call(self._orthanc.get_modalities).json())

    def upload(self, path: Path) -> str:
        """Store a DICOM file; returns Orthanc's identifier of the instance, also where Orthanc had it already."""
        return str(self._call(self._orthanc.post_instances, path.read_bytes()).json()["ID"])

    def _find(self, query: dict[str, str]) -> tuple[OrthancSeries, ...]:
        """Series whose identifiers are exactly those in ``query``."""
        if not all(map(is_uid, query.values())):  # wildcards and lists would match others' series
            return ()
        body = {"Level": "Series", "Query": query, "Expand": True, "CaseSensitive": True}
        answer = self._call(self._orthanc.post_tools_find, body)
        try:
            return tuple(_series(item) for item in answer.json())
        except (ValueError, KeyError, TypeError) as error:
            raise Rejected(
                "The answer is not Orthanc's.", where=self.url, todo="Check the URL: http://host:8042."
            ) from error

    def _call(self, ask: Callable[..., Any], *arguments: Any, **named: Any) -> httpx.Response:
        """The answer to one of pyorthanc's requests, if it is a success. Raises as described for the class."""
        try:
            answer = cast("httpx.Response", ask(*arguments, **named))
        except httpx.TransportError as error:
            raise PeerUnavailable(
                f"Orthanc cannot be reached ({type(error).__name__}).",
                where=self.url,
                todo="Check its address and that it runs.",
            ) from error
        if answer.is_success:
            return answer
        asked = answer.request.url.path.split("/")[1]
        what = f"Orthanc answered {answer.status_code} to {answer.request.method} {asked}."
        if answer.status_code in {429, 503}:
            raise PeerBusy(what, where=self.url)
        if answer.is_server_error:
            raise PeerUnavailable(what, where=self.url, todo="See Orthanc's log.")
        todo = self._who_we_are() if answer.status_code in {401, 403} else "See Orthanc's log."
        raise Rejected(what, where=self.url, todo=todo)

    def _who_we_are(self) -> str:
        """What an administrator does about a 401 or 403."""
        if self._named:
            return "Check user name and password."
        return (
            'Let other machines in ("RemoteAccessAllowed": true in Orthanc) with a user of its "RegisteredUsers", and'
            " give username and password here."
        )


def _series(item: dict[str, Any]) -> OrthancSeries:
    tags = item["MainDicomTags"]
    return OrthancSeries(
        orthanc_id=item["ID"],
        series_instance_uid=tags["SeriesInstanceUID"],
        modality=tags.get("Modality", ""),
        description=tags.get("SeriesDescription", ""),
        instances=tuple(item["Instances"]),
        is_stable=item["IsStable"],
    )
