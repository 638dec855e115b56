"""The studies of the store, newest or oldest first, as the receiver's index lists them; read only, no patient data.

A study stands where its last received series stands. A page goes on behind the last study of the page before (keyset
pagination), so that it takes as long however many series there are.

Statements are put together from this module's own text (hence the S608); every value is bound.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from dicom_node.settings.tree import Settings
from dicom_node.store.identifier_keys import IdentifierKeys
from dicom_node.store.series_index import SeriesRecord, SeriesState
from dicom_node.store.study_series import INDEX
from pipeline.errors import OutOfResources

MOST: Final = 200
"""Studies of a page."""
_COLUMNS: Final = tuple(field.name for field in fields(SeriesRecord))
_SHOWN: Final = "state != 'own'"


@dataclass(frozen=True)
class ListedSeries:
    """A series and its modality, empty where its header has none."""

    record: SeriesRecord
    modality: str


@dataclass(frozen=True)
class Place:
    """Where a page ended: the last study's time (seconds since the epoch) and its series of that time."""

    last_received: float
    series_instance_uid: str


@dataclass(frozen=True)
class ListedStudy:
    """A study with its series but those of our own results, in the order of reception."""

    study_instance_uid: str
    place: Place
    series: tuple[ListedSeries, ...]


@dataclass(frozen=True)
class StudyFilter:
    """Which studies are listed; all that are set must hold. Times in seconds since the epoch, ``until`` excluded.

    ``studies`` and ``series`` limit the list to those with these UIDs, ``without`` leaves studies out. A study has X
    """

    studies: Collection[str] | None = None
    series: Collection[str] | None = None
    without: Collection[str] = ()
    state: SeriesState | None = None
    modality: str | None = None
    calling_ae: str | None = None
    since: float | None = None
    until: float | None = None


class StudyList:
    """The studies of one installation. Threads may share it. Every method raises OutOfResources where the index cannot
    be read now; without an index there are no studies.
    """

    def __init__(self, settings: Settings) -> None:
        self._index = settings.data_dir / INDEX
        self._store = settings.store_dir.absolute()

    def page(
        self, wanted: StudyFilter, *, after: Place | None = None, limit: int = 50, oldest_first: bool = False
    ) -> tuple[ListedStudy, ...]:
        """At most ``limit`` studies behind ``after``, newest first or ``oldest_first``."""
        behind, order = (">", "asc") if oldest_first else ("<", "desc")
        where, values = _conditions(wanted)
        if after is not None:
            where.append(f"(s.last_received, s.series_instance_uid) {behind} (?, ?)")
            values += [after.last_received, after.series_instance_uid]
        statement = f"""
            select s.study_instance_uid, s.last_received, s.series_instance_uid from series s
            where {" and ".join(where)}
            order by s.last_received {order}, s.series_instance_uid {order} limit ?
        """  # noqa: S608
        heads = self._rows(statement, [*values, min(limit, MOST)])
        inside = self._series_of([study for study, _, _ in heads])
        return tuple(ListedStudy(study, Place(time, series), inside.get(study, ())) for study, time, series in heads)

    def study(self, study_instance_uid: str) -> tuple[ListedSeries, ...]:
        """The series of one study; empty where the store has none of it."""
        return self._series_of([study_instance_uid]).get(study_instance_uid, ())

    def series(self, series_instance_uid: str) -> ListedSeries | None:
        """One series."""
        rows = self._rows(f"{_SELECT} where series_instance_uid = ? and {_SHOWN}", [series_instance_uid])
        return _listed(rows[0]) if rows else None

    def studies_of(self, series: Iterable[str]) -> dict[str, str]:
        """By Series Instance UID, the study of each series that the store has."""
        statement = """
            select series_instance_uid, study_instance_uid from series
            where series_instance_uid in (select value from json_each(?))
        """
        return {str(row[0]): str(row[1]) for row in self._rows(statement, [_json(series)])}

    def found_by(self, identifier: str) -> tuple[str, ...]:
        """The studies that have ``identifier`` as their whole PatientID or AccessionNumber, at most `MOST`."""
        keys = IdentifierKeys.read(self._index.parent)
        digest = keys.of(identifier) if keys is not None else None
        statement = """
            select distinct study_instance_uid from (
                select study_instance_uid from series where patient_key = ?
                union select study_instance_uid from series where accession_key = ?
            ) limit ?
        """
        return tuple(row[0] for row in self._rows(statement, [digest, digest, MOST])) if digest else ()

    def modalities(self) -> tuple[str, ...]:
        """Every modality of the store, in the order of the alphabet."""
        rows = self._rows(f"select distinct modality from series where {_SHOWN} and modality > '' order by 1", [])  # noqa: S608
        return tuple(str(row[0]) for row in rows)

    def count(self) -> int:
        """Number of series, without our own results."""
        rows = self._rows(f"select count(*) from series where {_SHOWN}", [])  # noqa: S608
        return int(rows[0][0]) if rows else 0

    def sample(self, series_instance_uid: str) -> Path | None:
        """The file of one instance of a series; None where there is none."""
        statement = "select path from instances where series_instance_uid = ? and not own limit 1"
        rows = self._rows(statement, [series_instance_uid])
        return self._store / str(rows[0][0]) if rows else None

    def _series_of(self, studies: list[str]) -> dict[str, tuple[ListedSeries, ...]]:
        statement = f"""
            {_SELECT} where study_instance_uid in (select value from json_each(?)) and {_SHOWN}
            order by first_received, series_instance_uid
        """  # noqa: S608
        found: dict[str, tuple[ListedSeries, ...]] = {}
        for item in map(_listed, self._rows(statement, [_json(studies)])):
            found[item.record.study_instance_uid] = (*found.get(item.record.study_instance_uid, ()), item)
        return found

    def _rows(self, statement: str, values: list[object]) -> list[tuple[Any, ...]]:
        if not self._index.is_file():
            return []
        try:
            address = f"{self._index.absolute().as_uri()}?mode=ro"
            with closing(sqlite3.connect(address, uri=True, timeout=10)) as connection:
                return connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise OutOfResources(
                f"The index of the store cannot be read ({type(error).__name__}).",
                where=str(self._index),
                todo="Check its permissions and the disk; it is tried again.",
            ) from error


_SELECT: Final = f"select {', '.join(_COLUMNS)}, modality from series"  # noqa: S608


def _conditions(wanted: StudyFilter) -> tuple[list[str], list[object]]:
    """What a study's last series must fulfil, in SQL, and the values."""
    where = [
        f"s.{_SHOWN}",
        f"""not exists (
            select 1 from series t where t.study_instance_uid = s.study_instance_uid and t.{_SHOWN}
            and (t.last_received, t.series_instance_uid) > (s.last_received, s.series_instance_uid)
        )""",  # noqa: S608
    ]
    values: list[object] = []

    def add(condition: str, value: object) -> None:
        where.append(condition)
        values.append(value)

    several = {
        "s.study_instance_uid in (select value from json_each(?))": wanted.studies,
        _of_studies("series_instance_uid in (select value from json_each(?))"): wanted.series,
        "s.study_instance_uid not in (select value from json_each(?))": wanted.without or None,
    }
    single = {
        "s.last_received >= ?": wanted.since,
        "s.last_received < ?": wanted.until,
        _one_has("state"): wanted.state and str(wanted.state),
        _one_has("modality"): wanted.modality,
        _one_has("calling_ae"): wanted.calling_ae,
    }
    for condition, uids in several.items():
        if uids is not None:
            add(condition, _json(uids))
    for condition, value in single.items():
        if value is not None:
            add(condition, value)
    return where, values


def _of_studies(condition: str) -> str:
    return f"s.study_instance_uid in (select study_instance_uid from series where {condition})"  # noqa: S608


def _one_has(column: str) -> str:
    return f"exists (select 1 from series f where f.study_instance_uid = s.study_instance_uid and f.{column} = ?)"  # noqa: S608


def _listed(row: tuple[Any, ...]) -> ListedSeries:
    values = dict(zip(_COLUMNS, row, strict=False))
    values["state"] = SeriesState(str(values["state"]))
    values["released"] = bool(values["released"])
    return ListedSeries(SeriesRecord(**values), str(row[-1] or ""))


def _json(items: Iterable[str]) -> str:
    return json.dumps(list(items))
