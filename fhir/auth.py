"""Authorization at a FHIR server: a bearer token, or SMART Backend Services (SMART App Launch 2.2, section 5).

SMART: the token endpoint is found in ``.well-known/smart-configuration``; a JWT that our private key signs (RS384 or
ES384, ``jti``, five minutes at most) is exchanged for an access token, which is kept until shortly before it ends.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import httpx
import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from fhir.answers import LATER, is_passing, retry_after
from fhir.urls import is_private, public_url
from pipeline.errors import BadSettings, CandelaError, PeerBusy, PeerUnavailable, Rejected

ASSERTION_LASTS: Final = 240.0
"""Seconds; SMART allows 300, and clocks differ."""
MARGIN: Final = 30.0
"""A token is renewed this many seconds before it ends, so that it does not end on the way."""
ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
NOT_SAID_LASTS: Final = 60.0
"""How long a token without ``expires_in`` is kept, though SMART demands one."""
WORDS_MOST: Final = 300


class Authorization(Protocol):
    """Gives the Authorization header. Threads may share one."""

    def header(self, http: httpx.Client) -> str:
        """The header's value; ``http`` requests a new token if needed."""
        ...

    def renew(self, refused: str) -> bool:
        """Forget the header ``refused``, to which the server answered 401. True if another one can be requested."""
        ...


@dataclass(frozen=True)
class Bearer:
    """A ready-made token. ``token`` is read for each request, since its file may be replaced."""

    token: Callable[[], str]

    def header(self, http: httpx.Client) -> str:  # noqa: ARG002  (the protocol's)
        return f"Bearer {self.token()}"

    def renew(self, refused: str) -> bool:
        return f"Bearer {self.token()}" != refused


@dataclass(frozen=True)
class SigningKey:
    """A private key, the algorithm that it signs with, and the ``kid`` of its public half at the server."""

    key: RSAPrivateKey | EllipticCurvePrivateKey
    algorithm: str
    kid: str

    @classmethod
    def read(cls, text: str, kid: str | None = None, *, where: str = "") -> SigningKey:
        """The key in ``text``, PEM or JWK; ``kid`` None: the JWK's own, else its thumbprint (RFC 7638).

        Raises
        ------
        BadSettings
            where it is no private key, or one that SMART has no algorithm for (RSA: RS384; EC P-384: ES384).
        """
        try:
            if text.lstrip().startswith("{"):
                found: Any = jwt.PyJWK.from_json(text).key
                kid = kid or json.loads(text).get("kid")
            else:
                found = load_pem_private_key(text.encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm, jwt.PyJWTError):
            found = None
        if isinstance(found, RSAPrivateKey) and found.key_size >= 2048:
            algorithm = "RS384"
        elif isinstance(found, EllipticCurvePrivateKey) and isinstance(found.curve, SECP384R1):
            algorithm = "ES384"
        else:
            raise BadSettings(
                "This is no private key that SMART Backend Services can sign with.",
                where=where,
                todo="Give an RSA key of 2048 bits or more, or an EC key on P-384, as PEM without password or as JWK.",
            )
        return cls(found, algorithm, kid or thumbprint(_public(found)))

    @property
    def public_jwk(self) -> dict[str, Any]:
        """The public half as the server's administrator registers it."""
        return {**_public(self.key), "kid": self.kid, "alg": self.algorithm, "use": "sig"}


def _public(key: RSAPrivateKey | EllipticCurvePrivateKey) -> dict[str, Any]:
    if isinstance(key, RSAPrivateKey):
        found = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        found = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {name: found[name] for name in ("kty", "crv", "n", "e", "x", "y") if name in found}


def thumbprint(jwk: dict[str, Any]) -> str:
    """RFC 7638: SHA-256 of the required members in order, base64url."""
    required = {name: jwk[name] for name in sorted(jwk) if name in ("kty", "crv", "n", "e", "x", "y")}
    digest = hashlib.sha256(json.dumps(required, separators=(",", ":")).encode()).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


@dataclass(frozen=True)
class SmartClient:
    """The client as registered at the server. ``key`` is read for each token, so that a new one needs no restart.

    ``token_url`` None: found by discovery at the FHIR server's base. ``jwks_url``: where our public keys are published,
    where they are (``jku``).
    """

    client_id: str
    key: Callable[[], SigningKey]
    scope: str
    token_url: str | None = None
    jwks_url: str | None = None


class SmartBackend:
    """Access tokens for one FHIR server."""

    def __init__(self, base_url: str, client: SmartClient, clock: Callable[[], float] = time.time) -> None:
        self._base = base_url.rstrip("/")
        self._client = client
        self._clock = clock
        self._lock = threading.Lock()
        self._header = ""
        self._until = 0.0

    def header(self, http: httpx.Client) -> str:
        """See `Authorization.header`.

        Raises
        ------
        Retryable
            where discovery or the token endpoint does not answer, or says "later".
        Rejected
            where it knows no such client, key or scope.
        BadSettings
            where the private key cannot be used, or a token would be asked for in clear text.
        """
        with self._lock:
            if self._clock() >= self._until - MARGIN:
                self._header, self._until = self._fetch(http)
            return self._header

    def renew(self, refused: str) -> bool:
        with self._lock:
            if self._header == refused:  # another thread may have a new one by now
                self._until = 0.0
        return True

    def _fetch(self, http: httpx.Client) -> tuple[str, float]:
        key = self._client.key()
        place = self._client.token_url or self._discover(http, key.algorithm)
        if not is_private(place):
            raise BadSettings(
                "The token endpoint is not reached by https.", where=public_url(place), todo="Give a https URL."
            )
        began = self._clock()
        form = {
            "grant_type": "client_credentials",
            "scope": self._client.scope,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self._assertion(key, place, began),
        }
        answer = _ask(http, "POST", place, data=form)
        body = _json(answer)
        if not answer.is_success:
            raise _refusal(answer, body, place)
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

    def _discover(self, http: httpx.Client, algorithm: str) -> str:
        place = f"{self._base}/.well-known/smart-configuration"
        answer = _ask(http, "GET", place)
        if not answer.is_success and answer.status_code != 404:
            raise _refusal(answer, _json(answer), place)
        found = _json(answer)
        endpoint = found.get("token_endpoint")
        if not answer.is_success or not isinstance(endpoint, str):
            raise Rejected(
                "The FHIR server does not say where its token endpoint is.",
                where=public_url(place),
                todo="Set smart.token_url, or check the server's base URL.",
            )
        for name, ours in (
            ("token_endpoint_auth_methods_supported", "private_key_jwt"),
            ("token_endpoint_auth_signing_alg_values_supported", algorithm),
        ):
            offered = found.get(name)
            if isinstance(offered, list) and offered and ours not in offered:
                raise Rejected(
                    f"The FHIR server does not accept {ours}; it offers {', '.join(map(str, offered))[:100]}.",
                    where=public_url(place),
                    todo="Use a key of the kind that it takes (RSA for RS384, EC P-384 for ES384).",
                )
        return endpoint

    def _assertion(self, key: SigningKey, audience: str, now: float) -> str:
        headers = {"kid": key.kid, "typ": "JWT"}
        if self._client.jwks_url:
            headers["jku"] = self._client.jwks_url
        claims = {
            "iss": self._client.client_id,
            "sub": self._client.client_id,
            "aud": audience,
            "exp": int(now + ASSERTION_LASTS),
            "jti": str(uuid.uuid4()),
        }
        return jwt.encode(claims, key.key, algorithm=key.algorithm, headers=headers)


def _ask(http: httpx.Client, method: str, place: str, **content: Any) -> httpx.Response:
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
            "The address of the token endpoint is no URL.", where=public_url(place), todo="Set smart.token_url."
        ) from None


def _refusal(answer: httpx.Response, body: dict[str, Any], place: str) -> CandelaError:
    status = answer.status_code
    words = " ".join(str(body.get(name) or "") for name in ("error", "error_description")).strip()[:WORDS_MOST]
    said = f"Asked for a token, the server answered {status}: {words or 'no reason given'}."
    where = public_url(place)
    if is_passing(status):
        kind = PeerBusy if status in LATER else PeerUnavailable
        return kind(said, where=where, todo="It is tried again.", retry_after=retry_after(answer.headers))
    return Rejected(
        said,
        where=where,
        todo="Check client_id, scope, the registered public key (`candela config jwks`) and the clock.",
    )


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
