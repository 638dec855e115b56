"""Requests to one FHIR server: connection, authorisation, and typed errors where no answer comes."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from fhir.server.auth import Authorization
from fhir.server.urls import is_private, public_url
from pipeline.errors import BadSettings, PeerUnavailable, Retryable

FHIR_JSON = "application/fhir+json"


@dataclass(frozen=True)
class Connection:
    """An open connection to the server at ``url``. ``timeout`` in seconds for each wait.

    ``secrets`` are the tokens that were sent, which a server may repeat in its answer and an error must not.
    """

    url: str
    timeout: float
    http: httpx.Client
    authorization: Authorization | None
    secrets: set[str] = field(default_factory=set)

    def post(self, path: str, **content: Any) -> httpx.Response:
        """The answer to a POST of ``content`` (httpx's ``json`` or ``data``) to ``path`` under the base.

        Answered 401, it is posted once more where another authorisation can be had.

        Raises
        ------
        Retryable
            PeerUnavailable where no whole answer came. Whether the server did what was asked is then not known.
        """
        headers = {"Content-Type": FHIR_JSON, "Prefer": "return=minimal"} if "json" in content else {}
        return self._authorised("POST", self.url.rstrip("/") + path, headers, content)

    def put(self, path: str, resource: dict[str, Any], version: str | None) -> httpx.Response:
        """The answer to an update at ``path``, of ``version`` (If-Match) where it is known. Errors as `post`."""
        headers = {"Content-Type": FHIR_JSON, "Prefer": "return=minimal"}
        headers |= {"If-Match": version} if version else {}
        return self._authorised("PUT", self.url.rstrip("/") + path, headers, {"json": resource})

    def get(self, url: str) -> httpx.Response:
        """The answer to a GET of ``url``, the next page of a search. A 401 is handled, and errors raised, as `post`."""
        return self._authorised("GET", url, {}, {})

    def _authorised(self, method: str, url: str, headers: dict[str, str], content: dict[str, Any]) -> httpx.Response:
        if self.authorization is None:
            return self._sent(method, url, headers, content)
        used = self._header(self.authorization)
        answer = self._sent(method, url, {**headers, "Authorization": used}, content)
        if answer.status_code == 401 and self.authorization.renew(used):
            renewed = self._header(self.authorization)
            answer = self._sent(method, url, {**headers, "Authorization": renewed}, content)
        return answer

    def _header(self, authorization: Authorization) -> str:
        header = authorization.header(self.http)
        self.secrets.add(header.rpartition(" ")[2])
        return header

    def _sent(self, method: str, url: str, headers: dict[str, str], content: dict[str, Any]) -> httpx.Response:
        try:
            return self.http.request(method, url, headers=headers, **content)
        except httpx.TimeoutException as error:
            raise self._unavailable(f"did not answer within {self.timeout:g} s ({type(error).__name__})") from None
        except httpx.TransportError as error:
            raise self._unavailable(f"could not be reached ({error or type(error).__name__})") from None
        except httpx.DecodingError:
            raise self._unavailable("sent an answer that cannot be decoded") from None

    def _unavailable(self, what: str) -> Retryable:
        return PeerUnavailable(
            f"The FHIR server {what}.",
            where=public_url(self.url),
            todo="It is tried again; check server, network and URL.",
        )


@contextmanager
def connect(
    url: str, timeout: float, authorization: Authorization | None, tls: ssl.SSLContext | None
) -> Iterator[Connection]:
    """A connection that is closed at the end. ``tls`` None: the system's authorities, where hospitals put their own."""
    verify = (url.startswith("https") and tls) or authorities(url, authorization)
    # No proxy of the environment sees a patient; a redirect is an answer and not followed, nor is a token sent there.
    with httpx.Client(headers={"Accept": FHIR_JSON}, timeout=timeout, verify=verify, trust_env=False) as http:
        yield Connection(url, timeout, http, authorization)


def authorities(url: str, authorization: Authorization | None) -> ssl.SSLContext:
    """The system's authorities; none where nothing but ``url`` is asked and that in clear text, since reading takes
    longer than a request. A context without authorities trusts no server, so that an unexpected https connection fails.
    """
    if url.startswith("https") or authorization is not None:
        return ssl.create_default_context()
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def check_url(url: str, *, secret: bool) -> None:
    """Raise BadSettings where ``url`` is no http or https URL, or where a ``secret`` would go to it in clear text."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise BadSettings(
            "A FHIR server's URL begins with http:// or https://.", where=public_url(url), todo="Correct the URL."
        )
    if secret and not is_private(url):
        raise BadSettings("A token would be sent in clear text.", where=public_url(url), todo="Use https, or no token.")
