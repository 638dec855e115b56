"""Who makes a request: a login's cookie, an API token, or in the demo anybody."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Annotated, Final

from fastapi import Depends, Request

from dicom_node.settings.web import Role
from dicom_node.web.api.problems import Problem
from dicom_node.web.auth.principal import Principal, Scope, scopes_of
from dicom_node.web.context import Context
from dicom_node.web.security import SAFE, same_origin

CSRF_HEADER: Final = "x-csrf-token"
CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}


def context_of(request: Request) -> Context:
    """The process's context."""
    found: Context = request.app.state.context
    return found


def cookie_name(request: Request) -> str:
    """The cookie's name; over HTTPS one that browsers take only from this host itself (RFC 6265bis, __Host-)."""
    return "__Host-candela" if request.url.scheme == "https" else "candela"


def found_principal(request: Request) -> Principal | None:
    """The principal of a request; None for nobody.

    Raises
    ------
    Problem
        401 where a token is unknown or has expired; 403 where another site's page made the browser send the request.
    """
    context = context_of(request)
    address = request.client.host if request.client else ""
    presented = request.headers.get("authorization")
    if presented is not None:
        return _by_token(context, presented, address)
    if request.method not in SAFE and not same_origin(request):
        raise Problem(403, "The request comes from a page of another site.", code="CROSS_SITE")
    web = context.settings.web
    if web.demo:
        return Principal("demo", "demo", scopes_of(Role.ADMIN, web) | {Scope.IDENTITY, Scope.ASSESS}, address)
    return _by_cookie(context, request, address)


def needs(scope: Scope) -> Callable[[Request], Principal]:
    """A dependency: the principal, who must have the permission ``scope``.

    Raises
    ------
    Problem
        401 for nobody, 403 without the permission, or without the token that each form of a login repeats.
    """

    def check(request: Request) -> Principal:
        who = found_principal(request)
        if who is None:
            raise Problem(401, "A login or an API token is needed.", code="NOT_LOGGED_IN", headers=CHALLENGE)
        if request.method not in SAFE and who.kind == "account":
            sent = request.headers.get(CSRF_HEADER, "")
            if not hmac.compare_digest(sent.encode(), who.csrf.encode()):
                raise Problem(403, "The request lacks the token of this login.", code="NO_CSRF_TOKEN")
        if not who.may(scope):
            raise Problem(403, f"This needs the permission {scope!r}.", code="NOT_PERMITTED")
        return who

    return check


Here = Annotated[Context, Depends(context_of)]
Reads = Annotated[Principal, Depends(needs(Scope.READ))]
Identifies = Annotated[Principal, Depends(needs(Scope.IDENTITY))]
Assesses = Annotated[Principal, Depends(needs(Scope.ASSESS))]
Operates = Annotated[Principal, Depends(needs(Scope.OPERATE))]
Administers = Annotated[Principal, Depends(needs(Scope.ADMIN))]


def _by_token(context: Context, presented: str, address: str) -> Principal:
    kind, _, value = presented.partition(" ")
    token = context.accounts.token(value.strip()) if kind.lower() == "bearer" else None
    if token is None:
        raise Problem(401, "The API token is unknown or has expired.", code="BAD_TOKEN", headers=CHALLENGE)
    return Principal(f"token {token.name}", "token", frozenset(token.scopes), address)


def _by_cookie(context: Context, request: Request, address: str) -> Principal | None:
    presented = request.cookies.get(cookie_name(request))
    session = context.sessions.find(presented) if presented else None
    account = context.accounts.account(session.account) if session else None
    if session is None or account is None or session.stamp != account.stamp:
        return None
    return Principal(account.name, "account", scopes_of(account.role, context.settings.web), address, session.csrf)
