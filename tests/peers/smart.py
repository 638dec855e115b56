"""A FHIR server behind SMART Backend Services: Authlib's token endpoint, and only its tokens are let through.

The endpoint verifies the assertion's signature (RS384, ES384) by registered keys, issuer, audience, end (five minutes
at most) and that its ``jti`` was not used before.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Self

import httpx
from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, InvalidClientError, grants
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from flask import Flask, Response, jsonify, request
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from werkzeug.serving import make_server

LONGEST = 300
"""Seconds that SMART lets an assertion last."""


class _Client(ClientMixin):
    def __init__(self, client_id: str, scopes: set[str]) -> None:
        self._id, self._scopes = client_id, scopes

    def get_client_id(self) -> str:
        return self._id

    def get_allowed_scope(self, scope: str) -> str:
        return " ".join(item for item in scope.split() if item in self._scopes)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return (method, endpoint) == (JWTBearerClientAssertion.CLIENT_AUTH_METHOD, "token")

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "client_credentials"


class _Assertion(JWTBearerClientAssertion):
    def __init__(self, peer: SmartPeer) -> None:
        super().__init__(leeway=5)
        self._peer = peer

    def get_audiences(self) -> list[str]:
        return [self._peer.token_url]

    def resolve_client_public_key(self, client: _Client) -> KeySet:
        return KeySet.import_key_set({"keys": self._peer.keys})

    def process_assertion_claims(self, assertion: str, resolve_key: KeySet) -> dict[str, Any]:
        try:
            token = jwt.decode(assertion, resolve_key, algorithms=["RS384", "ES384"])
        except (JoseError, ValueError) as error:
            raise InvalidClientError(description=str(error)) from None
        self.verify_claims(token.claims)
        if token.claims["exp"] > time.time() + LONGEST:
            raise InvalidClientError(description="The assertion lasts longer than five minutes.")
        return token.claims

    def validate_jti(self, claims: dict[str, Any], jti: str) -> bool:
        if jti in self._peer.seen:
            return False
        self._peer.seen.add(jti)
        return True


class _Grant(grants.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = (JWTBearerClientAssertion.CLIENT_AUTH_METHOD,)


class SmartPeer:
    """``url`` is the base of the FHIR server at ``fhir_url``, which only requests with one of our tokens reach.

    ``keys`` are public JWKs of ``client_id``. ``valid`` are the tokens that are taken: a test may clear it. ``asked``
    are the forms of the token requests; ``configuration`` what discovery answers, None for 404; ``deny`` an answer of
    the token endpoint in place of its own (status, headers).
    """

    def __init__(self, fhir_url: str, client_id: str = "candela", lasts: int = 300) -> None:
        self._fhir_url = fhir_url
        self.keys: list[dict[str, Any]] = []
        self.valid: set[str] = set()
        self.seen: set[str] = set()
        self.asked: list[dict[str, str]] = []
        self.refused = 0
        self.deny: tuple[int, dict[str, str]] | None = None
        app = Flask("smart")
        self._server = make_server("127.0.0.1", 0, app, threaded=True)
        root = f"http://127.0.0.1:{self._server.server_port}"
        self.url, self.token_url = f"{root}/fhir", f"{root}/token"
        self.configuration: dict[str, Any] | None = {
            "token_endpoint": self.token_url,
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": ["RS384", "ES384"],
            "capabilities": ["client-confidential-asymmetric"],
        }
        client = _Client(client_id, {"system/*.cruds"})
        app.config["OAUTH2_TOKEN_EXPIRES_IN"] = {"client_credentials": lasts}
        oauth = AuthorizationServer(
            app,
            lambda name: client if name == client_id else None,
            lambda token, _: self.valid.add(token["access_token"]),
        )
        oauth.register_client_auth_method(JWTBearerClientAssertion.CLIENT_AUTH_METHOD, _Assertion(self))
        oauth.register_grant(_Grant)

        @app.post("/token")
        def token() -> Response:
            self.asked.append(request.form.to_dict())
            if self.deny is not None:
                return Response("{}", self.deny[0], self.deny[1])
            return oauth.create_token_response()

        @app.get("/fhir/.well-known/smart-configuration")
        def discovery() -> Response:
            return jsonify(self.configuration) if self.configuration is not None else Response(status=404)

        @app.route("/fhir", methods=["POST"], defaults={"path": ""})
        @app.route("/fhir/<path:path>", methods=["POST"])
        def fhir(path: str) -> Response:
            kind, _, presented = request.headers.get("Authorization", "").partition(" ")
            if kind != "Bearer" or presented not in self.valid:
                self.refused += 1
                issue = {"severity": "error", "code": "login", "diagnostics": f"token {presented} has expired"}
                body = jsonify({"resourceType": "OperationOutcome", "issue": [issue]})
                body.status_code = 401
                return body
            answer = httpx.post(
                f"{self._fhir_url}/{path}".rstrip("/"),
                content=request.get_data(),
                headers={"Content-Type": request.headers["Content-Type"]},
                timeout=60,
                trust_env=False,
            )
            return Response(answer.content, answer.status_code, {"Content-Type": "application/fhir+json"})

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
