"""Pages from templates: every value is escaped, every text comes from `words`."""

from __future__ import annotations

import functools
import re
from typing import Any, Final
from urllib.parse import quote, urlencode

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from dicom_node.web.assets import version
from dicom_node.web.auth.gate import context_of
from dicom_node.web.auth.principal import Principal, Scope
from dicom_node.web.pages.forms import Forms
from dicom_node.web.pages.words import say, wanted_language
from pipeline.report.sentences import Language

CODE: Final = re.compile(r"`([^`]+)`")
LINK: Final = re.compile(r"\[([^\]]+)\]\([^)]*\)")
LANGUAGE_COOKIE: Final = "candela_language"
LIVE: Final = frozenset({"worklist.html", "study.html", "destinations.html", "try.html", "analysis.html"})
"""Pages with a part that updates itself."""
PAGES: Final[tuple[tuple[str, str, Scope], ...]] = (
    ("worklist", "/", Scope.READ),
    ("try", "/try", Scope.OPERATE),
    ("destinations", "/destinations", Scope.READ),
    ("models", "/models", Scope.READ),
    ("assessments", "/assessments", Scope.READ),
    ("settings", "/settings", Scope.ADMIN),
    ("audit", "/audit", Scope.ADMIN),
)


def page(request: Request, template: str, who: Principal | None, *, status: int = 200, **values: Any) -> Response:
    """The page ``template`` for ``who``. A request of htmx gets only the part that changes, the template of the same
    name in ``live/``.
    """
    context = context_of(request)
    language = language_of(request)
    shown = {
        "t": functools.partial(say, language=language),
        "language": language,
        "who": who,
        "may": who.may if who else lambda _: False,
        "Scope": Scope,
        "pages": [(name, address) for name, address, scope in PAGES if who and who.may(scope)],
        "path": request.url.path,
        "here": f"{request.url.path}{f'?{request.url.query}' if request.url.query else ''}",
        "demo": context.settings.web.demo,
        "asset": asset,
        "clock": Forms(language).clock(context.settings.zone),
        **values,
    }
    name = f"live/{template}" if request.headers.get("hx-request") and template in LIVE else template
    return HTMLResponse(_environment(language).get_template(name).render(shown), status)


def language_of(request: Request) -> Language:
    """The language of the pages for this request: its cookie's, its browser's, the site's."""
    return wanted_language(
        request.headers.get("accept-language", ""),
        request.cookies.get(LANGUAGE_COOKIE, ""),
        context_of(request).settings.web.language,
    )


def asset(name: str) -> str:
    """The address of an asset, which changes with its content."""
    return f"/assets/{name}?v={version(name)}"


def query(**values: Any) -> str:
    """A query string of the values that are set."""
    return urlencode({key: str(value) for key, value in values.items() if value not in (None, "")})


@functools.cache
def _environment(language: Language) -> Environment:
    made = Environment(
        loader=PackageLoader("dicom_node.web.pages", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["query"] = query
    made.globals["languages"] = {language: say("language.name", language) for language in Language}
    made.filters.update(Forms(language).filters())
    made.filters["segment"] = lambda text: quote(str(text), safe=":")
    made.filters["size"] = _size
    made.filters["prose"] = _prose
    return made


def _prose(text: str) -> Markup:
    """A description of a setting: `code` becomes an element, the text of a link stays without its address."""
    return Markup(CODE.sub(r"<code>\1</code>", str(escape(LINK.sub(r"\1", text)))))  # noqa: S704  (escaped before)


def _size(number: int) -> str:
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number = number // 1024
    return f"{number} GiB"
