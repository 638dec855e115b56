"""Access tokens by OAuth 2.0 client credentials (RFC 6749 4.4), each kept until shortly before it ends.

`fhir.server.auth.SmartBackend` proves who it is by a signed assertion, `ClientCredentials` by a secret. Authlib's
client is not used: its errors do not say which of them another try may cure.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal
from urllib.parse import quote

import httpx

from fhir.server.answers import LATER, is_passing, retry_after
from fhir.server.urls import is_private, public_url
from pipeline.errors import BadSettings, CandelaError, PeerBusy, PeerUnavailable, Rejected

MARGIN: Final = 30.0
"""A token is renewed this many seconds before it ends, so that it does not end on the way."""
NOT_SAID_LASTS: Final = 60.0
"""How long a token without ``expires_in`` is kept, which RFC 6749 recommends and SMART demands."""
WORDS_MOST: Final = 300


@dataclass(frozen=True)
class TokenRequest:
    """A request to the token endpoint ``place``: the form, and user and password of HTTP basic authentication."""

    place: str
    form: dict[str, str]
    login: tuple[str, str] | None = None


class Tokens(ABC):
    """An `fhir.server.auth.Authorization` by access tokens. Threads may share one."""

    advice: ClassVar[str]
    """What a person checks where the endpoint refuses."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._header = ""
        self._until = 0.0

    @abstractmethod
    def request(self, http: httpx.Client, now: float) -> TokenRequest:
        """What to ask the token endpoint at ``now``, in seconds since the epoch."""

    def header(self, http: httpx.Client) -> str:
        """See `fhir.server.auth.Authorization.header`.

        Raises
        ------
        Retryable
            where the token endpoint does not answer, or says "later".
        Rejected
            where it knows no such client, key, secret or scope.
        BadSettings
            where key or secret cannot be used, or a token would be asked for in clear text.
        """
        with self._lock:
            if self._clock() >= self._until - MARGIN:
                self._header, self._until = self._fetch(http)
            return self._header

    def renew(self, refused: str) -> bool:
        """See `fhir.server.auth.Authorization.renew`."""
        with self._lock:
            if self._header == refused:  # another thread may have a new one by now
                self._until = 0.0
        return True

    def _fetch(self, http: httpx.Client) -> tuple[str, float]:
        began = self._clock()
        wanted = self.request(http, began)
        place = wanted.place
        if not is_private(place):
            raise BadSettings(
                "The token endpoint is not reached by https.", where=public_url(place), todo="Give a https URL."
            )
        answer = ask(http, "POST", place, data=wanted.form, auth=wanted.login)
        body = json_of(answer)
        if not answer.is_success:
            raise self.refusal(answer, body, place)
        token, lasts = body.get("access_token"), body.get("expires_in", NOT_SAID_LASTS)
        if not isinstance(token, str) or not token.isascii() or str(body.get("token_type")).lower() != "bearer":
            raise Rejected(
                "The token endpoint gave no bearer token.", where=public_url(place), todo="Check its address."
            )
        try:
            seconds = float(lasts)
        except (TypeError, ValueError):
            seconds = NOT_SAID_LASTS
        # One that ends within the margin is used for what follows at once.
        return f"Bearer {token}", began + max(seconds, MARGIN + 1)

    def refusal(self, answer: httpx.Response, body: dict[str, Any], place: str) -> CandelaError:
        """The error for an answer that is no success."""
        status = answer.status_code
        words = " ".join(str(body.get(name) or "") for name in ("error", "error_description")).strip()[:WORDS_MOST]
        said = f"Asked for a token, the server answered {status}: {words or 'no reason given'}."
        where = public_url(place)
        if is_passing(status):
            kind = PeerBusy if status in LATER else PeerUnavailable
            return kind(said, where=where, todo="It is tried again.", retry_after=retry_after(answer.headers))
        return Rejected(said, where=where, todo=self.advice)


class ClientCredentials(Tokens):
    """Access tokens for ``client_id`` and its secret, which is read for each token so that a new one needs no restart.

    ``authentication`` is how they are sent: ``basic`` (HTTP basic authentication, which every server must take,
    RFC 6749 2.3.1) or ``post`` (in the form). Empty ``scope`` and ``audience`` are left out.
    """

    advice = "Check client_id, client_secret, scope and audience."

    def __init__(
        self,
        token_url: str,
        client_id: str,
        client_secret: Callable[[], str],
        *,
        scope: str = "",
        audience: str = "",
        authentication: Literal["basic", "post"] = "basic",
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(clock)
        self._place = token_url
        self._client_id = client_id
        self._secret = client_secret
        self._more = {"scope": scope, "audience": audience}
        self._authentication = authentication

    def request(self, http: httpx.Client, now: float) -> TokenRequest:  # noqa: ARG002  (the protocol's)
        """See `Tokens.request`."""
        form = {"grant_type": "client_credentials", **{name: text for name, text in self._more.items() if text}}
        if self._authentication == "basic":
            # RFC 6749 2.3.1: both are form-encoded first, so that a colon in them does no harm.
            login = (quote(self._client_id, safe=""), quote(self._secret(), safe=""))
            return TokenRequest(self._place, form, login)
        return TokenRequest(self._place, {**form, "client_id": self._client_id, "client_secret": self._secret()})


def ask(http: httpx.Client, method: str, place: str, **content: Any) -> httpx.Response:
    """The answer to a request about tokens. Raises PeerUnavailable where none comes."""
    try:
        return http.request(method, place, headers={"Accept": "application/json"}, **content)
    except (httpx.TransportError, httpx.DecodingError) as error:
        raise PeerUnavailable(
            f"No answer when a token was asked for ({type(error).__name__}).",
            where=public_url(place),
            todo="It is tried again; check address, network and certificates.",
        ) from None
    except httpx.InvalidURL:
        raise Rejected(
            "The address of the token endpoint is no URL.", where=public_url(place), todo="Correct token_url."
        ) from None


def json_of(answer: httpx.Response) -> dict[str, Any]:
    """The JSON object that ``answer`` holds; empty where it holds none."""
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
