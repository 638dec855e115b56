"""Pages from templates: every value is escaped, every text comes from `words`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import Any, Final
from urllib.parse import quote, urlencode

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from dicom_node.web.assets import version
from dicom_node.web.auth.gate import context_of
from dicom_node.web.auth.principal import Principal, Scope
from dicom_node.web.pages.words import say, wanted_language

SYMBOLS: Final = {"mm2": "mm²", "[arb'U]": "a. u.", "1": "", "[hnsf'U]": "HU"}
"""UCUM codes that people write in another way."""
LIVE: Final = frozenset({"worklist.html", "study.html", "destinations.html"})
"""Pages with a part that updates itself."""
PAGES: Final = (
    ("worklist", "/"),
    ("destinations", "/destinations"),
    ("models", "/models"),
    ("assessments", "/assessments"),
)


def page(request: Request, template: str, who: Principal | None, *, status: int = 200, **values: Any) -> Response:
    """The page ``template`` for ``who``. A request of htmx gets only the part that changes, the template of the same
    name in ``live/``.
    """
    language = wanted_language(request.headers.get("accept-language", ""))
    context = context_of(request)
    shown = {
        "t": functools.partial(say, language=language),
        "language": language,
        "who": who,
        "may": who.may if who else lambda _: False,
        "Scope": Scope,
        "pages": PAGES,
        "path": request.url.path,
        "here": f"{request.url.path}{f'?{request.url.query}' if request.url.query else ''}",
        "demo": context.settings.web.demo,
        "asset": asset,
        "clock": _clock(context.settings.zone),
        **values,
    }
    name = f"live/{template}" if request.headers.get("hx-request") and template in LIVE else template
    return HTMLResponse(_environment().get_template(name).render(shown), status)


def asset(name: str) -> str:
    """The address of an asset, which changes with its content."""
    return f"/assets/{name}?v={version(name)}"


def query(**values: Any) -> str:
    """A query string of the values that are set."""
    return urlencode({key: str(value) for key, value in values.items() if value not in (None, "")})


def _clock(zone: tzinfo | None) -> Callable[[datetime], str]:
    """How a time is shown: of today without its day; in the site's zone, or that of the machine."""

    def show(at: datetime) -> str:
        local = at.astimezone(zone)
        today = datetime.now(UTC).astimezone(zone).date()
        return f"{local:%H:%M:%S}" if local.date() == today else f"{local:%Y-%m-%d %H:%M}"

    return show


@functools.cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("dicom_node.web.pages", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["query"] = query
    made.filters["percent"] = lambda share: f"{share:.0%}"
    made.filters["segment"] = lambda text: quote(str(text), safe=":")
    made.filters["size"] = _size
    made.filters["measure"] = _measure
    return made


def _measure(item: dict[str, float | str]) -> str:
    """A value with its UCUM unit as people write it; volumes in millilitres."""
    value, unit = float(item["value"]), str(item["unit"])
    if unit == "mm3":
        return f"{value / 1000:.1f} mL"
    return f"{value:g} {SYMBOLS.get(unit, unit)}".rstrip()


def _size(number: int) -> str:
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number = number // 1024
    return f"{number} GiB"
