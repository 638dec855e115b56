"""`candela errors`: every code of an error or refusal, what it means, and what to do."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from dicom_node.commands.common import console
from pipeline.errors import BadSettings, Broken, CandelaError, Refused, Rejected, Retryable

GROUPS: tuple[tuple[type[CandelaError], str], ...] = (
    (Refused, "refusal: the series is not read, and never tried again"),
    (Retryable, "failure of a peer or resource: tried again by itself"),
    (Rejected, "dead letter: a destination refused a result"),
    (Broken, "dead letter: a fault of this installation"),
    (BadSettings, "settings"),
    (CandelaError, "command line"),
)
"""The first that a code's class belongs to says what kind of code it is."""


def errors(
    code: Annotated[str | None, typer.Argument(help="One code, such as MISSING_SLICES; default: all.")] = None,
) -> None:
    """List every error and refusal code with what it means and what to do, or explain one."""
    known = codes()
    out = console()
    if code is None:
        for kind, title in GROUPS:
            table = Table(title=escape(title), title_justify="left", title_style="bold", box=None, show_header=False)
            for item in (item for item in known.values() if _group(item) is kind):
                table.add_row(item.code, escape(item.meaning()), escape(item.remedy))
            out.print(table)
        return
    one = known.get(code.strip().upper())
    if one is None:
        raise typer.BadParameter(f"there is no code {code!r}; `candela errors` lists all", param_hint="CODE")
    title = dict(GROUPS)[_group(one)]
    for name, value in (("code", one.code), ("kind", title), ("meaning", one.meaning()), ("to do", one.remedy)):
        out.print(f"[bold]{name:<9}[/]{escape(value)}", soft_wrap=True)


def codes() -> dict[str, type[CandelaError]]:
    """The class of every code, as the code's own modules state them."""
    from dicom_node.jobs import client, identity_choice, withdrawal  # noqa: F401  (they have codes of their own)
    from dicom_node.monitoring import ledger  # noqa: F401
    from dicom_node.web.api import problems  # noqa: F401
    from dicom_node.web.auth import accounts  # noqa: F401

    found: dict[str, type[CandelaError]] = {}
    waiting = CandelaError.__subclasses__()
    while waiting:
        item = waiting.pop(0)
        found.setdefault(item.code, item)
        waiting += item.__subclasses__()
    return found


def _group(item: type[CandelaError]) -> type[CandelaError]:
    return next(kind for kind, _ in GROUPS if issubclass(item, kind))
