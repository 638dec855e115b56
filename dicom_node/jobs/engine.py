"""DBOS as Candela uses it: names, identifiers, configuration, tables.

Two things are fixed for the life of an installation. `APP_VERSION` is a constant: DBOS would otherwise hash the
workflows' source, and an upgrade would leave every waiting job to a version that no longer runs. Raise it only when the
order of a workflow's steps changes, after the queues were drained. Values in the database are JSON, not pickles, so
that write access to the database does not allow running code here.
"""

from __future__ import annotations

import functools
import logging
import re
import socket
import sqlite3
import uuid
from collections.abc import Collection, Container
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

import sqlalchemy as sa
from dbos import (
    DBOS,
    DBOSClient,
    DBOSConfig,
    DBOSPortableJSONSerializer,
    EnqueueOptions,
    PortableWorkflowError,
)
from dbos._migration import get_migration_versions, get_sqlite_migration_versions

from dicom_node.jobs.circuits import Circuit, Circuits, CircuitState, make_table
from dicom_node.jobs.job import SeriesJob
from dicom_node.observability.log import uid
from dicom_node.settings.tree import Settings
from pipeline.errors import BadSettings, PeerUnavailable
from pipeline.routing.rules import Priority

APP: Final = "candela"
APP_VERSION: Final = "workflows-1"
DBOS_SCHEMA: Final = "dbos"
"""Of PostgreSQL; DBOS's default."""
INFER: Final = "infer"
DELIVER: Final = "deliver"
"""The queue of destinations that the settings do not name, and the prefix of all other delivery queues."""
OPERATOR: Final = "operator"
"""A queue that no worker serves, for what an operator discarded."""
SERIES_WORKFLOW: Final = "series"
DELIVERY_WORKFLOW: Final = "delivery"

PRIORITY: Final[dict[Priority, int]] = {"stat": 1, "routine": 10}
"""Priorities are always set: DBOS treats an unset one as 0, which would overtake STAT."""

SENDS_AT_ONCE: Final = 2
"""Associations from one deliver worker to one destination; a dead destination blocks only its own."""
AT_ONCE: Final = {CircuitState.CLOSED: SENDS_AT_ONCE, CircuitState.HALF_OPEN: 1, CircuitState.OPEN: 0}
RATE_PERIOD: Final = 60.0

UID_LIKE: Final = re.compile(r"(?<![\w.])[0-2](?:\.\d+){4,}(?![\w.])")


def series_id(job_id: str, attempt: int) -> str:
    """Workflow id of attempt ``attempt`` (from 1) at reading the series of a job."""
    return job_id if attempt == 1 else f"{job_id}|{attempt}"


def delivery_id(job_id: str, result: str, destination: str, attempt: int) -> str:
    """Workflow id of attempt ``attempt`` (from 1) at sending one result to one destination."""
    return "|".join((job_id, quote(result, safe=""), quote(destination, safe=""), str(attempt)))


def attempt_of(workflow_id: str) -> tuple[str, int, str]:
    """Of an attempt: the key that spreads its waits, its number, and the id of the attempt before it."""
    if workflow_id.count("|") >= 3:
        job_id, result, destination, number = workflow_id.rsplit("|", 3)
        result, destination, attempt = unquote(result), unquote(destination), int(number)
        return f"{job_id}|{result}|{destination}", attempt, delivery_id(job_id, result, destination, attempt - 1)
    job_id, _, number = workflow_id.partition("|")
    attempt = int(number or 1)
    return job_id, attempt, series_id(job_id, attempt - 1)


def series_options(job: SeriesJob, attempt: int, delay: float | None = None) -> EnqueueOptions:
    """Options that enqueue an attempt at reading a series."""
    return _options(SERIES_WORKFLOW, INFER, series_id(job.job_id, attempt), job.priority, delay)


def deliver_queue(destination: str) -> str:
    """The queue of one destination."""
    return f"{DELIVER}:{destination}"


def delivery_options(
    job: SeriesJob, result: str, destination: str, attempt: int, known: Container[str], delay: float | None = None
) -> EnqueueOptions:
    """Options that enqueue an attempt at a delivery on its destination's queue; ``known`` are the settings'
    destinations.
    """
    name = delivery_id(job.job_id, result, destination, attempt)
    if destination in known:
        return _options(DELIVERY_WORKFLOW, deliver_queue(destination), name, job.priority, delay)
    options = _options(DELIVERY_WORKFLOW, DELIVER, name, job.priority, delay)
    options["queue_partition_key"] = destination
    return options


def discarded(options: EnqueueOptions) -> EnqueueOptions:
    """``options`` changed so that they record an attempt that an operator discarded."""
    changed: EnqueueOptions = {**options, "queue_name": OPERATOR}
    changed.pop("queue_partition_key", None)
    return changed


def _options(workflow: str, queue: str, name: str, priority: Priority, delay: float | None) -> EnqueueOptions:
    options = EnqueueOptions(
        workflow_name=workflow,
        queue_name=queue,
        workflow_id=name,
        app_version=APP_VERSION,
        application_name=APP,
        priority=PRIORITY[priority],
    )
    if delay is not None:
        options["delay_seconds"] = delay
    return options


def new_executor_id() -> str:
    """An id unique to this process start: DBOS would give a second process with the same id the first one's jobs."""
    return f"{socket.gethostname()}-{uuid.uuid4().hex[:16]}"


def config(settings: Settings, executor_id: str) -> DBOSConfig:
    """The DBOS configuration of a worker."""
    return DBOSConfig(
        name=APP,
        system_database_url=settings.database_url,
        application_version=APP_VERSION,
        executor_id=executor_id,
        serializer=DBOSPortableJSONSerializer(),
        log_level="WARNING",
        run_migrations=False,  # `prepare` did this
    )


def open_client(settings: Settings) -> DBOSClient:
    """A client on the prepared database that raises when the database does not answer, rather than waiting for it."""
    return DBOSClient(
        system_database_url=settings.database_url,
        application_name=APP,
        serializer=DBOSPortableJSONSerializer(),
        retry_connection_errors=False,
    )


def sqlite_file(settings: Settings) -> Path | None:
    """The engine's SQLite file, or None where the database is a server.

    Raises
    ------
    BadSettings
        where ``jobs.database_url`` is neither SQLite (a file) nor PostgreSQL.
    """
    try:
        url = sa.make_url(settings.database_url)
    except sa.exc.ArgumentError:
        raise _bad_url("it is not a database URL") from None
    backend = url.get_backend_name()
    if backend == "postgresql":
        return None
    if backend != "sqlite":
        raise _bad_url(f"it names a database that Candela does not run on: {backend}")
    if not url.database or url.database == ":memory:":
        raise _bad_url("it names no file, and a database in memory is lost with its process")
    return Path(url.database)


def prepare(settings: Settings) -> None:
    """Create or upgrade the tables and queues. Every role calls it at its start; several may do so at once.

    Raises
    ------
    BadSettings
        where ``jobs.database_url`` cannot be used, or a newer version of Candela has used the database.
    PeerUnavailable
        where the database does not answer.
    """
    redact_engine_logs()
    file = sqlite_file(settings)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(file, timeout=30)) as connection:
            connection.execute("pragma journal_mode=wal")  # readers beside one writer; the file keeps this setting
    try:
        DBOS.migrate(settings.database_url)
        _refuse_newer(settings)
        make_table(settings)
        client = open_client(settings)
    except sa.exc.OperationalError as error:
        raise database_down(settings) from error
    try:
        poll = settings.jobs.poll_interval
        # One series at a time in a process: one model on one GPU, and a crash affects no other series.
        client.register_queue(INFER, worker_concurrency=1, polling_interval_sec=poll)
        client.register_queue(DELIVER, partition_worker_concurrency=SENDS_AT_ONCE, polling_interval_sec=poll)
        table = Circuits(settings, lambda _: None)
        for name in settings.destinations:
            set_queue(client, settings, table.of(name))
        table.close()
    finally:
        client.destroy()


def set_queue(client: DBOSClient, settings: Settings, circuit: Circuit) -> None:
    """Set the queue of a destination to what its circuit and its rate allow; without change, nothing is written."""
    target = settings.destinations.get(circuit.destination)
    if target is None:
        return
    name = deliver_queue(circuit.destination)
    # DBOS counts starts by the database's clock, which on SQLite before Python 3.12 has whole seconds only.
    limiter = {"limit": target.rate, "period": RATE_PERIOD + 1} if target.rate else None
    wanted: dict[str, Any] = {
        "worker_concurrency": AT_ONCE[circuit.state],
        "global_concurrency": 1 if circuit.state is CircuitState.HALF_OPEN else None,
        "limiter": limiter,
        "polling_interval_sec": settings.jobs.poll_interval,
    }
    queue = client.retrieve_queue(name)
    if queue is None or any(getattr(queue, field) != value for field, value in wanted.items()):
        client.register_queue(name, **wanted)


def queues_of(client: DBOSClient, roles: Collection[str], settings: Settings) -> list[str]:
    """The queues that a worker of ``roles`` serves, those of destinations that the settings no longer name included.

    The queue of a disabled destination is left alone: what waits in it waits until the destination is enabled again.
    """
    names = set(roles)
    if DELIVER in names:
        names |= {queue.name for queue in client.list_queues() if queue.name.startswith(deliver_queue(""))}
    return sorted(names - {deliver_queue(name) for name in settings.disabled_destinations})


def _refuse_newer(settings: Settings) -> None:
    """Refuse tables that only a newer DBOS understands: DBOS itself would run on them without a change."""
    url = sa.make_url(settings.database_url)
    if sqlite_file(settings) is not None:
        database = sa.create_engine(url)
        find = get_sqlite_migration_versions
    else:
        database = sa.create_engine(url.set(drivername="postgresql+psycopg"))
        find = functools.partial(get_migration_versions, schema=DBOS_SCHEMA, use_listen_notify=True)
    try:
        found, known = find(database)
    finally:
        database.dispose()
    if found > known:
        place = url.render_as_string(hide_password=True)
        raise BadSettings(
            f"The engine's database is of a newer version of Candela (tables {found}, this one knows {known}).",
            where=place,
            todo="Run that version or a newer one. To go back, restore a backup from before the upgrade.",
        )


def database_down(settings: Settings) -> PeerUnavailable:
    """The error that names the database that does not answer, without its password."""
    place = sa.make_url(settings.database_url).render_as_string(hide_password=True)
    return PeerUnavailable(
        "The engine's database does not answer.", where=place, todo="Start it, or correct jobs.database_url."
    )


def redact_engine_logs() -> None:
    """Hash UIDs in DBOS's own log lines (its workflow ids hold them) and drop the messages of exceptions."""
    logger = logging.getLogger("dbos")
    if not any(isinstance(item, _Redaction) for item in logger.filters):
        logger.addFilter(_Redaction())


class _Redaction(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], PortableWorkflowError):
            return False  # a dead letter, which was logged where it arose
        text = UID_LIKE.sub(lambda match: uid(match.group()), record.getMessage())
        if record.exc_info and record.exc_info[0] is not None:
            text = f"{text} {record.exc_info[0].__name__}"
        record.msg, record.args, record.exc_info, record.exc_text = text, (), None, None
        return True


def _bad_url(why: str) -> BadSettings:
    return BadSettings(
        f"jobs.database_url cannot be used: {why}.",
        where="jobs.database_url",
        todo="Give sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE.",
    )
