"""How the sub-commands of `candela jobs` find a job."""

from __future__ import annotations

import typer

from dicom_node.jobs import engine
from dicom_node.jobs.client import JobsClient
from dicom_node.settings.tree import Settings


def open_client(settings: Settings) -> JobsClient:
    """A client on the prepared database."""
    engine.prepare(settings)
    return JobsClient(settings)


def full_id(client: JobsClient, start: str) -> str:
    """The id of the only job whose id begins with ``start``; ``start`` itself without one, which the caller reports."""
    found = client.find(start)
    if len(found) > 1 and start not in found:
        raise typer.BadParameter(f"several jobs begin with {start!r}", param_hint="JOB")
    return found[0] if len(found) == 1 else start
