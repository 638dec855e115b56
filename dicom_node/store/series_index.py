"""The index of the store by series: a SQLite file that may be lost at any time, since it can be rebuilt from the files.

For that reason the journal is WAL with ``synchronous=NORMAL``: a power cut may lose the last transactions but not the
consistency, and `SeriesIndex.reconcile` restores them at the start. Only the monitor's thread writes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path

import structlog
from pydicom.dataset import Dataset
from sqlalchemy import Connection, Engine, Index, Select, create_engine, event, func, select, text, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import ConnectionPoolEntry

from dicom_node.store import schema
from dicom_node.store.header import InstanceHeader
from dicom_node.store.identifier_keys import IdentifierKeys
from dicom_node.store.instance_store import Dispatched, InstanceStore, Stored
from dicom_node.store.manifest import StoredInstance
from dicom_node.store.series_header import read_found_by
from pipeline.errors import BadSettings
from pipeline.findings.identity import instances_digest
from pipeline.reading import attributes
from pipeline.reading.representative import NO_IMAGE, image_kind_of_class

log = structlog.get_logger("candela.index")


class SeriesState(StrEnum):
    """The state of a series. A late instance leads from dispatched back to receiving."""

    RECEIVING = "receiving"
    COMPLETE = "complete"
    DISPATCHED = "handed_over"  # the value that release 0.1.0 wrote
    OWN = "own"
    """The series holds only Candela's own results: stored, never dispatched."""


class Base(DeclarativeBase):
    """Base of the index's tables."""


class InstanceRow(Base):
    """One version of an instance on disk; ``path`` is relative to the store.

    ``instance_number``, ``modality`` and ``image`` come from its header; ``instance_number`` is infinite where the
    header has none. They are None in rows of releases without these columns: the file then states them.
    """

    __tablename__ = "instances"
    path: Mapped[str] = mapped_column(primary_key=True)
    series_instance_uid: Mapped[str] = mapped_column(index=True)
    sop_class_uid: Mapped[str]
    sop_instance_uid: Mapped[str] = mapped_column(index=True)
    version: Mapped[int]
    sha256: Mapped[str]
    calling_ae: Mapped[str]
    received_at: Mapped[float]
    own: Mapped[bool]
    instance_number: Mapped[float | None]
    modality: Mapped[str | None]
    image: Mapped[bool | None]


class SeriesRow(Base):
    """One series. Times are seconds since the epoch; ``revision`` is the last one dispatched, 0 before any.

    ``instances`` is the number of its distinct instances without Candela's own. It is kept up to date, since counting
    for each arrival takes longer the more there are.
    """

    __tablename__ = "series"
    series_instance_uid: Mapped[str] = mapped_column(primary_key=True)
    study_instance_uid: Mapped[str]
    calling_ae: Mapped[str]
    state: Mapped[str]
    first_received: Mapped[float]
    last_received: Mapped[float]
    associations: Mapped[int] = mapped_column(default=0)
    released: Mapped[bool] = mapped_column(default=False)
    expected: Mapped[int | None]
    reason: Mapped[str | None]
    completed_at: Mapped[str | None]
    revision: Mapped[int] = mapped_column(default=0)
    handed_digest: Mapped[str | None]
    instances: Mapped[int] = mapped_column(default=0)
    modality: Mapped[str | None]
    patient_key: Mapped[str | None]
    accession_key: Mapped[str | None]
    __table_args__ = (
        Index("ix_series_last_received", "last_received", "series_instance_uid"),
        Index("ix_series_study", "study_instance_uid", "last_received", "series_instance_uid"),
        *(Index(f"ix_series_{name}", name) for name in ("state", "patient_key", "accession_key")),
    )


@dataclass(frozen=True)
class SeriesRecord:
    """A series in the index; ``instances`` is the number of distinct ones without Candela's own."""

    series_instance_uid: str
    study_instance_uid: str
    calling_ae: str
    state: SeriesState
    first_received: float
    last_received: float
    associations: int
    released: bool
    expected: int | None
    reason: str | None
    completed_at: str | None
    revision: int
    handed_digest: str | None
    instances: int = 0


@dataclass(frozen=True)
class Arrival:
    """A stored instance. ``own``: Candela made it. ``association`` is the association's number in this process."""

    stored: Stored
    own: bool
    association: int = 0


@dataclass(frozen=True)
class CurrentInstance:
    """The current version of an instance; ``path`` is relative to the store."""

    series_instance_uid: str
    sop_class_uid: str
    path: str
    sha256: str


class SeriesIndex:
    """The index at ``path``, of this or any earlier release. A file that SQLite cannot read is set aside and rebuilt.

    Raises
    ------
    BadSettings
        where a newer version of Candela has used it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._keys = IdentifierKeys.open(path.parent)
        try:
            self._engine = self._open()
        except DatabaseError as error:
            aside = self._put_aside()
            log.warning("index_put_aside", reason=type(error.orig).__name__, aside=aside)
            self._engine = self._open()

    def close(self) -> None:
        self._engine.dispose()

    def _open(self) -> Engine:
        engine = create_engine(f"sqlite:///{self.path}")
        event.listen(engine, "connect", _set_pragmas)
        try:
            with engine.begin() as connection:
                connection.exec_driver_sql("BEGIN IMMEDIATE")  # changes of tables are transactional too
                _check(connection)
                schema.bring_up(connection)
        except (DatabaseError, BadSettings):
            engine.dispose()
            raise
        return engine

    def _put_aside(self) -> str:
        aside = self.path.with_name(f"{self.path.name}.broken")
        self.path.replace(aside)
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        return aside.name

    def reconcile(self, store: InstanceStore, is_own: Callable[[Dataset], bool]) -> int:
        """Bring the index in line with the files; returns the number of instances that it lacked.

        Files missing from the index are read, checked and added; entries without a file are dropped.
        """
        on_disk = {path for _, path in store.paths()}
        with Session(self._engine) as session:
            known = set(session.scalars(select(InstanceRow.path)))
            for path in known - on_disk:
                session.delete(session.get_one(InstanceRow, path))
            session.commit()
        found = (store.read(path) for path in sorted(on_disk - known))
        missed = [Arrival(stored, is_own(stored.header.elements)) for stored in found if stored]
        self.add(missed)
        with Session(self._engine) as session:
            for row in session.scalars(select(SeriesRow)).all():
                _drop_empty(session, row.series_instance_uid)
            session.commit()
            for row in session.scalars(select(SeriesRow)):
                dispatched = store.dispatched(row.series_instance_uid)
                if dispatched is not None and dispatched.revision >= row.revision:
                    row.revision, row.handed_digest = dispatched.revision, dispatched.digest
                    row.reason, row.completed_at = dispatched.reason, dispatched.completed_at
                self._settle(session, row)
            session.commit()
        self._describe_undescribed(store.folder)
        return len(missed)

    def _describe_undescribed(self, folder: Path) -> None:
        """Read modality and identifiers of series that an earlier version indexed, from one file of each."""
        with Session(self._engine) as session:
            unknown = SeriesRow.state != SeriesState.OWN
            if not self._keys.made:  # no digest of before fits a new key
                unknown &= SeriesRow.modality.is_(None)
            for row in session.scalars(select(SeriesRow).where(unknown)).all():
                sample = session.scalars(_one_path(row.series_instance_uid)).first()
                if sample is not None:
                    _set_all(row, self._found_by(read_found_by(folder / sample)))
            session.commit()

    def _found_by(self, header: Dataset) -> dict[str, str | None]:
        """What a series is found by, from the header of one of its instances."""
        return {
            "modality": attributes.text(header, "Modality") or "",
            "patient_key": self._keys.of(attributes.text(header, "PatientID")),
            "accession_key": self._keys.of(attributes.text(header, "AccessionNumber")),
        }

    @staticmethod
    def _settle(session: Session, row: SeriesRow) -> None:
        """Set the state and number that follow from the instances and from what was dispatched."""
        row.instances = _distinct(session, row.series_instance_uid)
        ours = [uid for uid, own in _current(session, row.series_instance_uid) if not own]
        if not ours:
            row.state = SeriesState.OWN
        elif row.handed_digest == instances_digest(ours):
            row.state = SeriesState.DISPATCHED
        else:
            row.state = SeriesState.RECEIVING

    def add(self, arrivals: Iterable[Arrival]) -> None:
        """Add instances in one transaction. Their series become receiving again, except for Candela's own."""
        arrivals = tuple(arrivals)
        with Session(self._engine) as session:
            for arrival in arrivals:
                stored = arrival.stored
                further = not arrival.own and not _has(session, stored)
                session.execute(
                    insert(InstanceRow)
                    .values(
                        path=stored.path,
                        series_instance_uid=stored.header.series_instance_uid,
                        sop_class_uid=stored.header.sop_class_uid,
                        sop_instance_uid=stored.header.sop_instance_uid,
                        version=stored.version,
                        sha256=stored.sha256,
                        calling_ae=stored.calling_ae,
                        received_at=stored.received_at,
                        own=arrival.own,
                        **_described(stored.header),
                    )
                    .on_conflict_do_nothing()
                )
                self._note(session, arrival, further=further)
            session.commit()

    def _note(self, session: Session, arrival: Arrival, *, further: bool) -> None:
        stored, header = arrival.stored, arrival.stored.header
        row = session.get(SeriesRow, header.series_instance_uid)
        if row is None:
            row = SeriesRow(
                series_instance_uid=header.series_instance_uid,
                study_instance_uid=header.study_instance_uid,
                calling_ae=stored.calling_ae,
                state=SeriesState.OWN if arrival.own else SeriesState.RECEIVING,
                instances=0,
                first_received=stored.received_at,
                last_received=stored.received_at,
            )
            session.add(row)
        row.instances += further
        row.first_received = min(row.first_received, stored.received_at)
        row.last_received = max(row.last_received, stored.received_at)
        if not arrival.own:
            if row.modality is None:
                _set_all(row, self._found_by(header.elements))
            row.calling_ae = stored.calling_ae
            row.released = False
            if row.state == SeriesState.OWN:
                row.state = SeriesState.RECEIVING

    def set_series(self, series_instance_uid: str, **values: object) -> None:
        """Set columns of one series."""
        with self._engine.begin() as connection:
            of_series = SeriesRow.series_instance_uid == series_instance_uid
            connection.execute(update(SeriesRow).where(of_series).values(**values))

    def set_dispatched(self, series_instance_uid: str, dispatched: Dispatched) -> None:
        """Record the revision that was dispatched."""
        self.set_series(
            series_instance_uid,
            state=SeriesState.DISPATCHED,
            revision=dispatched.revision,
            handed_digest=dispatched.digest,
            reason=dispatched.reason,
            completed_at=dispatched.completed_at,
        )

    def series(self, series_instance_uid: str) -> SeriesRecord | None:
        with Session(self._engine) as session:
            row = session.get(SeriesRow, series_instance_uid)
            return _record(row) if row else None

    def unfinished(self) -> tuple[SeriesRecord, ...]:
        """The series that are not dispatched yet."""
        with Session(self._engine) as session:
            rows = session.scalars(
                select(SeriesRow).where(SeriesRow.state.in_((SeriesState.RECEIVING, SeriesState.COMPLETE)))
            )
            return tuple(_record(row) for row in rows)

    def all_series(self) -> tuple[SeriesRecord, ...]:
        """Every series, the last received first."""
        with Session(self._engine) as session:
            rows = session.scalars(select(SeriesRow).order_by(SeriesRow.last_received.desc()))
            return tuple(_record(row) for row in rows)

    def settled(self, before: float) -> tuple[SeriesRecord, ...]:
        """Dispatched series, and those of our own results, last received before ``before``; the oldest first."""
        with Session(self._engine) as session:
            rows = session.scalars(
                select(SeriesRow)
                .where(SeriesRow.state.in_((SeriesState.DISPATCHED, SeriesState.OWN)), SeriesRow.last_received < before)
                .order_by(SeriesRow.last_received)
            )
            return tuple(_record(row) for row in rows)

    def paths(self, series_instance_uid: str) -> tuple[str, ...]:
        """The relative path of every version of every instance of a series."""
        with Session(self._engine) as session:
            of_series = InstanceRow.series_instance_uid == series_instance_uid
            return tuple(session.scalars(select(InstanceRow.path).where(of_series)))

    def current(self, sop_instance_uid: str) -> CurrentInstance | None:
        """The version of an instance that was received last, Candela's own included."""
        with Session(self._engine) as session:
            row = session.scalars(
                select(InstanceRow)
                .where(InstanceRow.sop_instance_uid == sop_instance_uid)
                .order_by(InstanceRow.received_at.desc(), InstanceRow.version.desc())
                .limit(1)
            ).first()
            if row is None:
                return None
            return CurrentInstance(row.series_instance_uid, row.sop_class_uid, row.path, row.sha256)

    def forget(self, series_instance_uid: str, paths: Collection[str]) -> None:
        """Drop files that are no longer in the store, and their series if it has no others."""
        with Session(self._engine) as session:
            for path in paths:
                row = session.get(InstanceRow, path)
                if row is not None:
                    session.delete(row)
            session.flush()
            _drop_empty(session, series_instance_uid)
            series = session.get(SeriesRow, series_instance_uid)
            if series is not None:
                series.instances = _distinct(session, series_instance_uid)
            session.commit()

    def instances(self, series_instance_uid: str, folder: Path) -> tuple[StoredInstance, ...]:
        """The current version of each instance that is not Candela's own, by SOP Instance UID; paths in ``folder``."""
        versions = self._versions(series_instance_uid, folder)
        return tuple({item.sop_instance_uid: item for item in versions}.values())

    def earlier(self, series_instance_uid: str, folder: Path) -> tuple[StoredInstance, ...]:
        """The earlier versions, which `instances` leaves out; those of one instance in the order of reception."""
        versions = self._versions(series_instance_uid, folder)
        current = {item.sop_instance_uid: item for item in versions}
        return tuple(item for item in versions if current[item.sop_instance_uid] is not item)

    def _versions(self, series_instance_uid: str, folder: Path) -> list[StoredInstance]:
        with Session(self._engine) as session:
            rows = session.scalars(
                select(InstanceRow)
                .where(InstanceRow.series_instance_uid == series_instance_uid, InstanceRow.own.is_(False))
                .order_by(InstanceRow.sop_instance_uid, InstanceRow.version)
            )
            return [
                StoredInstance(
                    str(folder / row.path), row.sop_instance_uid, row.sha256, row.sop_class_uid, row.instance_number
                )
                for row in rows
            ]

    def shared(self, series_instance_uid: str) -> int:
        """Number of SOP Instance UIDs of the series that another series has too, without Candela's own."""
        own = InstanceRow.own.is_(False)
        here = select(InstanceRow.sop_instance_uid).where(InstanceRow.series_instance_uid == series_instance_uid, own)
        elsewhere = InstanceRow.series_instance_uid != series_instance_uid
        with Session(self._engine) as session:
            number = func.count(InstanceRow.sop_instance_uid.distinct())
            return session.scalars(select(number).where(elsewhere, own, InstanceRow.sop_instance_uid.in_(here))).one()

    def count(self, series_instance_uid: str) -> int:
        """Number of distinct instances of the series, without Candela's own."""
        with Session(self._engine) as session:
            row = session.get(SeriesRow, series_instance_uid)
            return row.instances if row else 0


def _described(header: InstanceHeader) -> dict[str, object]:
    """The attributes that routing needs of every instance of a series, so that it need not open each file."""
    instance_number = attributes.number(header.elements, "InstanceNumber")
    kind = image_kind_of_class(header.sop_class_uid)
    return {
        "instance_number": math.inf if instance_number is None else instance_number,
        "modality": attributes.text(header.elements, "Modality"),
        "image": None if kind is None else kind != NO_IMAGE,
    }


def _one_path(series_instance_uid: str) -> Select[str]:
    of_series = InstanceRow.series_instance_uid == series_instance_uid
    return select(InstanceRow.path).where(of_series, InstanceRow.own.is_(False)).limit(1)


def _set_all(row: SeriesRow, values: dict[str, str | None]) -> None:
    for name, value in values.items():
        setattr(row, name, value)


def _distinct(session: Session, series_instance_uid: str) -> int:
    """Count `SeriesRow.instances` again."""
    number = func.count(InstanceRow.sop_instance_uid.distinct())
    of_series = InstanceRow.series_instance_uid == series_instance_uid
    return session.scalars(select(number).where(of_series, InstanceRow.own.is_(False))).one()


def _has(session: Session, stored: Stored) -> bool:
    """Whether its series already has a version of the instance that is not Candela's own."""
    header = stored.header
    same = (
        InstanceRow.sop_instance_uid == header.sop_instance_uid,
        InstanceRow.series_instance_uid == header.series_instance_uid,
        InstanceRow.own.is_(False),
    )
    return session.scalars(select(InstanceRow.path).where(*same).limit(1)).first() is not None


def _check(connection: Connection) -> None:
    healthy = connection.execute(text("PRAGMA quick_check(1)")).scalar_one() == "ok"
    if not healthy:
        raise DatabaseError("PRAGMA", None, ValueError("a damaged index"))


def _current(session: Session, series_instance_uid: str) -> list[tuple[str, bool]]:
    rows = session.execute(
        select(InstanceRow.sop_instance_uid, InstanceRow.own)
        .where(InstanceRow.series_instance_uid == series_instance_uid)
        .order_by(InstanceRow.version)
    )
    return list({uid: (uid, own) for uid, own in rows}.values())


def _drop_empty(session: Session, series_instance_uid: str) -> None:
    of_series = InstanceRow.series_instance_uid == series_instance_uid
    if not session.scalars(select(func.count()).select_from(InstanceRow).where(of_series)).one():
        row = session.get(SeriesRow, series_instance_uid)
        if row is not None:
            session.delete(row)


def _record(row: SeriesRow) -> SeriesRecord:
    values = {field.name: getattr(row, field.name) for field in fields(SeriesRecord)}
    return SeriesRecord(**{**values, "state": SeriesState(row.state)})


def _set_pragmas(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()
