"""Login, logout, and the language of the pages."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from dicom_node.web.api.problems import Problem
from dicom_node.web.auth.accounts import LONGEST, NAME
from dicom_node.web.auth.gate import Here, context_of, cookie_name, found_principal, needs
from dicom_node.web.auth.principal import Scope
from dicom_node.web.pages.render import LANGUAGE_COOKIE, page
from dicom_node.web.security import same_origin
from pipeline.report.sentences import Language

router = APIRouter()

YEAR: Final = 365 * 86400
"""Seconds that a browser keeps the chosen language."""
Next = Annotated[str, Form(max_length=2000)]


@router.get("/login")
def ask(request: Request, next: str = "/") -> Response:  # noqa: A002  (the parameter's name in the URL)
    """The form; a person who is logged in goes on."""
    who = found_principal(request)
    if who is not None:
        return RedirectResponse(_safe(next), 303)
    return _form(request, next)


@router.post("/login")
def enter(
    request: Request,
    here: Here,
    name: Annotated[str, Form(max_length=200)] = "",
    password: Annotated[str, Form(max_length=4 * LONGEST)] = "",
    next: Next = "/",  # noqa: A002
) -> Response:
    """Begin a session under a new id."""
    if not same_origin(request):
        raise Problem(403, "The request comes from a page of another site.", code="CROSS_SITE")
    address = request.client.host if request.client else ""
    known = name if NAME.fullmatch(name) and here.accounts.account(name) else ""
    wait = here.throttle.wait(name[:64], address)
    if wait:
        here.seen.login(known, address, reason="TOO_MANY_ATTEMPTS")
        refused = _form(request, next, name, wait=wait)
        refused.headers["Retry-After"] = str(wait)
        return refused
    account = here.accounts.verified(name, password)
    if account is None:
        here.throttle.failed(name[:64], address)
        here.seen.login(known, address, reason="WRONG_PASSWORD")
        return _form(request, next, name, wrong=True)
    here.throttle.succeeded(name[:64], address)
    here.seen.login(account.name, address)
    if (former := request.cookies.get(cookie_name(request))) is not None:
        here.sessions.end(former)
    made = RedirectResponse(_safe(next), 303)
    made.set_cookie(
        cookie_name(request),
        here.sessions.begin(account.name, account.stamp),
        max_age=round(here.settings.web.session_most),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return made


@router.post("/logout")
def leave(request: Request, here: Here) -> Response:
    """End the session."""
    needs(Scope.READ)(request)
    if (session := request.cookies.get(cookie_name(request))) is not None:
        here.sessions.end(session)
    made = Response(headers={"HX-Redirect": "/login"})
    made.delete_cookie(cookie_name(request), secure=request.url.scheme == "https", httponly=True, samesite="lax")
    return made


@router.post("/language")
def choose_language(request: Request, language: Annotated[Language, Form()], next: Next = "/") -> Response:  # noqa: A002
    """Show the pages in ``language`` in this browser, before and after a login."""
    if not same_origin(request):
        raise Problem(403, "The request comes from a page of another site.", code="CROSS_SITE")
    made = RedirectResponse(_safe(next), 303)
    secure = request.url.scheme == "https"
    made.set_cookie(LANGUAGE_COOKIE, language, max_age=YEAR, secure=secure, httponly=True, samesite="lax")
    return made


def _form(request: Request, back: str, name: str = "", *, wrong: bool = False, wait: int = 0) -> Response:
    status = 429 if wait else 401 if wrong else 200
    return page(
        request,
        "login.html",
        None,
        status=status,
        back=_safe(back),
        name=name,
        wrong=wrong,
        minutes=-(-wait // 60),
        no_accounts=not context_of(request).accounts.accounts(),
    )


def _safe(back: str) -> str:
    """``back``, if it is a page of ours: a path, which no browser takes for another host."""
    return back if back.startswith("/") and not back.startswith(("//", "/\\")) and "\n" not in back else "/"
