"""Settings of all rules together; a rule's own are `pipeline.routing.rules.Rule`."""

from __future__ import annotations

from dicom_node.settings.base import Section
from pipeline.routing.rules import Match, Priority


class Matching(Section):
    """How rules share a series."""

    match: Match = "first"
    """`first`: the first rule that takes a series decides. `all`: every rule that takes it gives it to its model, each
    model once."""


class Defaults(Section):
    """What a rule that does not say otherwise does with its results."""

    destinations: tuple[str, ...] = ()
    """Destinations of rules that name none."""
    priority: Priority = "routine"
    """Priority of rules that state none."""
