"""A token endpoint for OAuth 2.0 client credentials, by Authlib."""

from __future__ import annotations

import threading
from typing import Self

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, grants
from flask import Flask, Response, request
from werkzeug.serving import make_server


class _Client(ClientMixin):
    def __init__(self, client_id: str, secret: str) -> None:
        self._id, self._secret = client_id, secret

    def get_client_id(self) -> str:
        return self._id

    def get_allowed_scope(self, scope: str) -> str:
        return scope if scope == "dicom.write" else ""

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == self._secret

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return endpoint == "token"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "client_credentials"


class _Grant(grants.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")


class TokenEndpoint:
    """``valid`` are the tokens it gave, in order; ``asked`` the forms and headers of the requests."""

    def __init__(self, client_id: str, secret: str, lasts: int = 300) -> None:
        self.valid: list[str] = []
        self.asked: list[tuple[dict[str, str], dict[str, str]]] = []
        app = Flask("oauth2")
        app.config["OAUTH2_TOKEN_EXPIRES_IN"] = {"client_credentials": lasts}
        client = _Client(client_id, secret)
        oauth = AuthorizationServer(
            app,
            lambda name: client if name == client_id else None,
            lambda token, _: self.valid.append(token["access_token"]),
        )
        oauth.register_grant(_Grant)

        @app.post("/token")
        def token() -> Response:
            self.asked.append((request.form.to_dict(), dict(request.headers)))
            return oauth.create_token_response()

        self._server = make_server("127.0.0.1", 0, app, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
