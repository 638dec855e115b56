"""Requests to one DICOMweb server: connection, identity, and typed errors where no answer comes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from dicom_node.deliver.credentials import secret
from dicom_node.deliver.in_flight import slot
from dicom_node.network.multipart import media_type
from dicom_node.network.tls import client_context
from dicom_node.settings.destinations import DicomWebDestination
from dicom_node.settings.http import OAuth2
from fhir.server.auth import Authorization, Bearer
from fhir.server.tokens import ClientCredentials
from fhir.server.transport import authorities
from fhir.server.urls import is_private, origin, public_url
from pipeline.errors import BadSettings, PeerUnavailable

DICOM_JSON: Final = "application/dicom+json"
ANSWER_MOST: Final = 1 << 20
"""Bytes of an answer that are read; one about one instance has some hundred."""
CHUNK: Final = 64 << 10


@dataclass(frozen=True)
class Answer:
    """Status, headers, and the first `ANSWER_MOST` bytes of the body."""

    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def media_type(self) -> str:
        """In lower case; empty where the server states none."""
        return media_type(self.headers.get("content-type", ""))[0]


class DicomWebServer:
    """The server of ``destination``. ``locks`` is a folder for the locks that keep the requests in flight to it below
    ``maximum_in_flight``.

    Raises
    ------
    BadSettings
        where certificates cannot be used, or a token would be sent in clear text.
    """

    def __init__(self, destination: DicomWebDestination, locks: Path) -> None:
        self._destination = destination
        self.url = destination.url.rstrip("/")
        self.place = public_url(self.url)
        self._locks = locks
        self._authorization = _authorization(destination)
        if (self._authorization is not None or destination.headers) and not is_private(self.url):
            raise BadSettings("A token would be sent in clear text.", where=self.place, todo="Use https, or no token.")
        self._tls = client_context(destination.tls) if destination.tls else None

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """A connection, kept open from request to request and closed at the end."""
        to = self._destination
        password = to.password.get_secret_value() if to.password else ""
        with httpx.Client(
            auth=(to.username, password) if to.username else None,
            timeout=to.timeout,
            verify=(self.url.startswith("https") and self._tls) or authorities(self.url, self._authorization),
            trust_env=False,  # no proxy of the environment sees a patient
        ) as http:
            yield Connection(self, to, http, self._authorization, self._locks)


@dataclass(frozen=True)
class Connection:
    """An open connection to ``server``."""

    server: DicomWebServer
    destination: DicomWebDestination
    http: httpx.Client
    authorization: Authorization | None
    locks: Path

    def get(self, path: str, query: dict[str, str]) -> Answer:
        """The answer to a GET of ``path`` below the server's URL. Raises as `post`."""
        return self._answered(lambda: self.http.build_request("GET", self.server.url + path, params=query))

    def post(self, path: str, content: Callable[[], Iterator[bytes]], headers: dict[str, str]) -> Answer:
        """The answer to a POST of ``content``, which is called anew for each request, to ``path`` below the server's
        URL. Answered 401, it is posted once more where another token can be had.

        Raises
        ------
        PeerUnavailable
            where no whole answer came. Whether the server did what was asked is then not known.
        PeerBusy
            where too many of our own requests are in flight.
        """
        url = self.server.url + path
        return self._answered(lambda: self.http.build_request("POST", url, content=content(), headers=headers))

    def _answered(self, request: Callable[[], httpx.Request]) -> Answer:
        if self.authorization is None:
            return self._sent(request(), {})
        used = self.authorization.header(self.http)
        answer = self._sent(request(), {"Authorization": used})
        if answer.status == 401 and self.authorization.renew(used):
            answer = self._sent(request(), {"Authorization": self.authorization.header(self.http)})
        return answer

    def _sent(self, request: httpx.Request, headers: dict[str, str]) -> Answer:
        # Not headers of the client, which also asks the token endpoint.
        own = {name: value.get_secret_value() for name, value in self.destination.headers.items()}
        request.headers.update({**own, "Accept": DICOM_JSON, "Accept-Encoding": "identity", **headers})
        wait = self.destination.timeout
        try:
            with slot(self.locks, origin(self.server.url), self.destination.maximum_in_flight, wait):
                answer = self.http.send(request, stream=True)
                try:
                    return Answer(answer.status_code, answer.headers, _beginning(answer))
                finally:
                    answer.close()
        except httpx.TimeoutException as error:
            raise self._unavailable(f"did not answer within {wait:g} s ({type(error).__name__})") from None
        except httpx.TransportError as error:
            what = f"could not be reached, or closed the connection ({type(error).__name__})"
            raise self._unavailable(what) from None
        except httpx.DecodingError:
            raise self._unavailable("sent an answer that cannot be decoded") from None

    def _unavailable(self, what: str) -> PeerUnavailable:
        return PeerUnavailable(
            f"The PACS {what}.", where=self.server.place, todo="It is tried again; check server, network and URL."
        )


def check_secrets(destination: DicomWebDestination) -> None:
    """Raise BadSettings where a secret cannot be read."""
    in_files = [destination.bearer_token_file, destination.oauth2.client_secret_file if destination.oauth2 else None]
    for path in in_files:
        if path is not None:
            secret(path)


def _authorization(destination: DicomWebDestination) -> Authorization | None:
    if destination.oauth2 is not None:
        return _oauth2(destination.url, destination.oauth2)
    source = destination.bearer_token_file or destination.bearer_token
    return Bearer(functools.partial(secret, source)) if source is not None else None


@functools.cache
def _oauth2(url: str, oauth2: OAuth2) -> ClientCredentials:  # noqa: ARG001  (tokens are kept for each server)
    """One object for each destination and process, so that tokens are reused."""
    source = oauth2.client_secret_file or oauth2.client_secret
    assert source is not None, "the settings have one of them"
    return ClientCredentials(
        oauth2.token_url,
        oauth2.client_id,
        functools.partial(secret, source),
        scope=oauth2.scope,
        audience=oauth2.audience,
        authentication=oauth2.authentication,
    )


def _beginning(answer: httpx.Response) -> bytes:
    """At most `ANSWER_MOST` bytes of the body."""
    found = b""
    for piece in answer.iter_bytes(CHUNK):
        found += piece
        if len(found) >= ANSWER_MOST:
            break
    return found[:ANSWER_MOST]
