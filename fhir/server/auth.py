"""Authorization at a FHIR server: a bearer token, or SMART Backend Services (SMART App Launch 2.2, section 5).

SMART: the token endpoint is found in ``.well-known/smart-configuration``; a JWT that our private key signs (RS384 or
ES384, ``jti``, five minutes at most) is exchanged for an access token, which is kept until shortly before it ends.
"""

from __future__ import annotations

import hashlib
import json
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

from fhir.server.tokens import TokenRequest, Tokens, ask, json_of
from fhir.server.urls import public_url
from pipeline.errors import BadSettings, Rejected

ASSERTION_LASTS: Final = 240.0
"""Seconds; SMART allows 300, and clocks differ."""
ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


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


class SmartBackend(Tokens):
    """Access tokens for one FHIR server, whose token endpoint is found by discovery where the settings name none."""

    advice = "Check client_id, scope, the registered public key (`candela config jwks`) and the clock."

    def __init__(self, base_url: str, client: SmartClient, clock: Callable[[], float] = time.time) -> None:
        super().__init__(clock)
        self._base = base_url.rstrip("/")
        self._client = client

    def request(self, http: httpx.Client, now: float) -> TokenRequest:
        """See `Tokens.request`."""
        key = self._client.key()
        place = self._client.token_url or self._discover(http, key.algorithm)
        form = {
            "grant_type": "client_credentials",
            "scope": self._client.scope,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self._assertion(key, place, now),
        }
        return TokenRequest(place, form)

    def _discover(self, http: httpx.Client, algorithm: str) -> str:
        place = f"{self._base}/.well-known/smart-configuration"
        answer = ask(http, "GET", place)
        if not answer.is_success and answer.status_code != 404:
            raise self.refusal(answer, json_of(answer), place)
        found = json_of(answer)
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
