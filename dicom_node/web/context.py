"""What every request of the dashboard and the API needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dicom_node.audit.trail import open_trail
from dicom_node.jobs.assessments import Assessments
from dicom_node.jobs.client import JobsClient
from dicom_node.settings.tree import Settings
from dicom_node.store.worklist import StudyList
from dicom_node.web.analyses import Analyses
from dicom_node.web.auth.accounts import Accounts
from dicom_node.web.auth.seen import Seen
from dicom_node.web.auth.sessions import Sessions
from dicom_node.web.auth.throttle import Throttle
from dicom_node.web.live import Live
from dicom_node.web.reading import Reader


@dataclass(frozen=True)
class Context:
    """One installation, as the web process sees it. Threads share it."""

    settings: Settings
    jobs: JobsClient
    studies: StudyList
    reader: Reader
    accounts: Accounts
    sessions: Sessions
    throttle: Throttle
    seen: Seen
    live: Live
    assessments: Assessments
    analyses: Analyses


def open_context(settings: Settings, jobs: JobsClient, config: Path | None = None) -> Context:
    """The context of one process, whose settings file is ``config``; ``jobs`` stays the caller's to close."""
    studies = StudyList(settings)
    return Context(
        settings,
        jobs,
        studies,
        Reader(settings, jobs, studies),
        Accounts(settings.web_dir),
        Sessions(settings.web_dir, settings.web.session_idle, settings.web.session_most),
        Throttle(),
        Seen(open_trail(settings), settings.receive.ae_title),
        Live(settings, jobs.lookup),
        Assessments(settings),
        Analyses(settings, config),
    )
