"""Who makes a request, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from dicom_node.settings.web import Role, Web


class Scope(StrEnum):
    """One permission. Roles are sets of them; an API token names its own."""

    READ = "read"
    """See states, answers, times, destinations, models."""
    IDENTITY = "identity"
    """See patient identity and descriptions; download result files."""
    OPERATE = "operate"
    """Retry, cancel and discard jobs; test and resume destinations; try routing rules."""
    ASSESS = "assess"
    """Store a reader's assessment of an AI answer."""
    ADMIN = "admin"
    """See accounts, tokens, settings and the audit trail; revoke tokens."""


BY_ROLE: Final[dict[Role, frozenset[Scope]]] = {
    Role.VIEWER: frozenset({Scope.READ}),
    Role.OPERATOR: frozenset({Scope.READ, Scope.OPERATE}),
    Role.ADMIN: frozenset({Scope.READ, Scope.OPERATE, Scope.ADMIN}),
}


@dataclass(frozen=True)
class Principal:
    """The account or token behind a request. ``csrf`` is what a form of its login repeats; empty without a login."""

    name: str
    kind: Literal["account", "token", "demo"]
    scopes: frozenset[Scope]
    address: str = ""
    csrf: str = ""

    def may(self, scope: Scope) -> bool:
        """Whether the principal has the permission ``scope``."""
        return scope in self.scopes


def scopes_of(role: Role, web: Web) -> frozenset[Scope]:
    """The permissions of ``role``; ``web`` says which roles see patient identity, and which assess answers."""
    by_setting = {Scope.IDENTITY: web.identity, Scope.ASSESS: web.assess}
    return BY_ROLE[role] | {scope for scope, roles in by_setting.items() if role in roles}
