"""The main loop of a worker process."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Collection
from typing import Final, NoReturn

import sqlalchemy as sa
import structlog
from dbos import DBOS

from dicom_node.deliver.senders import sender_for
from dicom_node.jobs import engine, liveness
from dicom_node.jobs.circuits import Circuits
from dicom_node.jobs.clock import Clock
from dicom_node.jobs.job import SeriesJob
from dicom_node.jobs.outcome import SeriesResult
from dicom_node.jobs.workflows import MakeSender, RunSeries, register_delivery, register_series
from dicom_node.settings.tree import Settings
from pipeline.errors import BadSettings

log = structlog.get_logger("candela.jobs")

STOP_WITHIN: Final = 20.0
"""Seconds that running steps get to finish after SIGTERM; another worker restarts unfinished ones."""
LEAVE_ANYWAY: Final = 5.0
"""Seconds after which a stopping worker exits even if the database no longer answers."""
RESTART: Final = 75
"""Exit status (EX_TEMPFAIL) that asks the supervisor for a new process."""


def run_worker(
    settings: Settings,
    queues: Collection[str],
    *,
    run_series: RunSeries | None = None,
    make_sender: MakeSender | None = None,
    stop_within: float = STOP_WITHIN,
) -> NoReturn:
    """Serve ``queues`` (``infer``, ``deliver`` or both) until SIGTERM or SIGINT, then exit the process.

    ``run_series`` must be ready, with its model loaded, since jobs start at once. The process ends here, by
    ``os._exit``, because a step that does not end in time would keep it alive. The exit status is 0 after a signal, 75
    where the life lock is lost or a reading hangs.

    Raises
    ------
    BadSettings
        for an unknown queue, a missing ``run_series`` or a database URL that cannot be used.
    PeerUnavailable
        where the database does not answer at the start.
    """
    _check(queues, run_series)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    engine.prepare(settings)
    executor_id = engine.new_executor_id()
    life = liveness.hold(settings, executor_id)
    DBOS(config=engine.config(settings, executor_id))
    client = engine.open_client(settings)
    circuits = Circuits(settings, lambda circuit: engine.set_queue(client, settings, circuit))
    clock = Clock(settings, client)
    stopwatch = ReadingTimer(settings.jobs.reading_timeout)
    if run_series is not None and engine.INFER in queues:
        register_series(settings, stopwatch.around(run_series))
    if engine.DELIVER in queues:
        senders = make_sender or (lambda name, target: sender_for(name, target, settings))
        register_delivery(settings, senders, circuits)
    DBOS.listen_queues(engine.queues_of(client, queues, settings))
    DBOS.launch()
    log.info("worker_started", queues=",".join(sorted(queues)), executor=executor_id)
    reaper = liveness.Reaper(life, executor_id, _owners, _recover)
    pause = max(0.5, settings.jobs.dead_worker_grace / 4)
    while True:
        try:
            reaper.check()
            circuits.update()
            clock.correct()
        except liveness.LifeLost:
            log.error("life_lock_lost", executor=executor_id)  # noqa: TRY400  (the error says no more than that the lock is gone)
            _leave(RESTART)
        except sa.exc.DBAPIError as error:
            log.warning(
                "reaper_failed", error=type(error).__name__
            )  # the loop repeats, so that no recovery depends on a single attempt
        if stopwatch.ran_out:
            # Only the end of the process stops a computation that hangs; a series that causes several is a dead letter.
            log.error("reading_hangs", limit_s=settings.jobs.reading_timeout, executor=executor_id)
            _leave(RESTART)
        if stop.wait(pause):
            break
    _stop(life, stop_within)


class ReadingTimer:
    """Seconds for which the present reading has run; the infer queue gives out one at a time."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._begun: float | None = None

    def around(self, run_series: RunSeries) -> RunSeries:
        def timed(job: SeriesJob) -> SeriesResult:
            self._begun = time.monotonic()
            try:
                return run_series(job)
            finally:
                self._begun = None

        return timed

    @property
    def ran_out(self) -> bool:
        begun = self._begun
        return begun is not None and time.monotonic() - begun > self._limit


def _stop(life: liveness.LifeLock, stop_within: float) -> NoReturn:
    log.info("worker_stopping", within_s=stop_within)
    watchdog = threading.Timer(stop_within + LEAVE_ANYWAY, _leave, args=(0,))
    watchdog.daemon = True
    watchdog.start()
    begun = time.monotonic()
    DBOS.destroy(workflow_completion_timeout_sec=max(1, round(stop_within)))
    life.release()
    log.info("worker_stopped", after_s=round(time.monotonic() - begun, 1))
    _leave(0)


def _check(queues: Collection[str], run_series: RunSeries | None) -> None:
    unknown = sorted(set(queues) - {engine.INFER, engine.DELIVER})
    if unknown or not queues:
        raise BadSettings(
            f"There is no queue {unknown[0]!r}." if unknown else "No queue was named.",
            where="--queues",
            todo="Name infer, deliver or both.",
        )
    if engine.INFER in queues and run_series is None:
        raise BadSettings("A worker of the infer queue needs a model.", where="--queues")


def _owners() -> set[str]:
    rows = DBOS.list_workflows(status="PENDING", load_input=False, load_output=False)
    return {row.executor_id for row in rows if row.executor_id}


def _recover(executor_id: str) -> None:
    # Private in DBOS 3.4 (hence the narrow pin, and the test that kills a worker); resume_workflow, which is public,
    # would forget how often a poison job crashed and move it to another queue.
    DBOS._recover_pending_workflows([executor_id])  # noqa: SLF001


def _leave(status: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
