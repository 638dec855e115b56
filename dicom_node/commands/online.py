"""`candela config check --online`: asks every peer of the settings whether it answers, and sends nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from dicom_node.completion.expected_count import FindCounter
from dicom_node.deliver.probe import probe
from dicom_node.settings.peers import FindCount, OrthancCount
from dicom_node.settings.tree import Settings
from orthanc.client import OrthancClient
from pipeline.errors import CandelaError
from pipeline.findings.identity import derived_uid

NOBODYS: Final = derived_uid("a study that nobody has")
"""What is counted, so that no answer holds a patient."""


def answers(settings: Settings) -> Iterator[tuple[str, str, bool]]:
    """Each expected count and each enabled destination, what it answers or why it does not, and whether it does."""
    for peer in settings.receive.allow:
        if peer.expected_count is not None:
            yield (f"expected_count of {peer.ae_title}", *_asked(partial(_count, peer.expected_count, settings)))
    for name, destination in settings.destinations.items():
        if destination.enabled:
            yield (f"destination {name}", *_asked(partial(probe, destination, settings)))


def _asked(ask: Callable[[], str]) -> tuple[str, bool]:
    try:
        return ask(), True
    except CandelaError as error:
        return str(error), False


def _count(source: OrthancCount | FindCount, settings: Settings) -> str:
    if isinstance(source, FindCount):
        FindCounter(source, settings.receive.ae_title)(NOBODYS, NOBODYS)
        return "The PACS answers."
    with OrthancClient(source.url, source.username, source.password.get_secret_value()) as client:
        client.find_series(NOBODYS)
    return "Orthanc answers."
