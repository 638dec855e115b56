"""Tells open pages that something has changed. The pages then ask for what they show."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

import sqlalchemy as sa
import structlog
from starlette.concurrency import run_in_threadpool

from dicom_node.jobs.lookup import JobLookup
from dicom_node.settings.tree import Settings
from dicom_node.store.data_version import DataVersion
from dicom_node.store.study_series import INDEX

log = structlog.get_logger("candela.web")

LOOK_EVERY: Final = 1.0
"""Seconds between two looks for changes, while a page is open."""
AT_MOST_EVERY: Final = 2.0
"""Seconds between two events of one stream: pages need not follow each of many instances."""
SILENCE: Final = 15.0
"""Seconds after which a comment keeps a silent stream open."""
LONGEST: Final = 600.0
"""Seconds after which a stream ends. The browser opens another, which checks the login again."""
STREAMS: Final = 200


class Live:
    """Server-sent events of one process. One task looks for changes on behalf of every stream."""

    def __init__(self, settings: Settings, lookup: JobLookup) -> None:
        self._lookup = lookup
        self._index = DataVersion(settings.data_dir / INDEX)
        self._streams = 0
        self._number = 0
        self._changed: asyncio.Condition | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def full(self) -> bool:
        """Whether no further stream is opened."""
        return self._streams >= STREAMS

    def mark(self) -> str:
        """A text that another one follows when store or jobs have changed. Raises SQLAlchemy's errors."""
        return f"{self._index.mark()}/{self._lookup.mark()}"

    async def events(self) -> AsyncIterator[str]:
        """The text of a stream: an event ``changed`` for each change, and one at the beginning."""
        loop = asyncio.get_running_loop()
        self._changed = self._changed or asyncio.Condition()
        end = loop.time() + LONGEST
        self._streams += 1
        try:
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._look(self._changed))
            known = -1
            while loop.time() < end:
                if known != self._number:
                    known = self._number
                    yield f"event: changed\ndata: {known}\n\n"
                    await asyncio.sleep(AT_MOST_EVERY)
                    continue
                try:
                    async with asyncio.timeout(SILENCE), self._changed:
                        await self._changed.wait()
                except TimeoutError:
                    yield ": still here\n\n"
        finally:
            self._streams -= 1

    async def _look(self, changed: asyncio.Condition) -> None:
        """Look for changes while there are streams."""
        before = None
        while self._streams:
            with contextlib.suppress(sa.exc.SQLAlchemyError):  # the pages' own requests report it
                now = await run_in_threadpool(self.mark)
                if before not in (None, now):
                    self._number += 1
                    async with changed:
                        changed.notify_all()
                before = now
            await asyncio.sleep(LOOK_EVERY)
