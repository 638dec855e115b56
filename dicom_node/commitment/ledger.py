"""The ledger of storage commitment (PS3.4 annex J) on disk, through which receiver and delivery workers communicate.

Layout under ``commitments/``::

    asked/<digest>.json                    a modality's request, to be answered by N-EVENT-REPORT
    asking/<result>~<Transaction UID>.json     our request to a PACS about one result
    asking/<result>~<Transaction UID>.report   the answer of the PACS

Every file appears whole or not at all. A Transaction UID is checked before it becomes part of a name.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID

from dicom_node.store.durable import sync_folder, write_durably
from pipeline.errors import NotDicom
from pipeline.findings.identity import instances_digest

SOP_CLASS = "1.2.840.10008.1.20.1"
SOP_INSTANCE = "1.2.840.10008.1.20.1.1"
"""The well-known instance that every request and report names (PS3.4 J.3.5)."""
ALL_COMMITTED, SOME_FAILED = 1, 2
"""Event Type ID (PS3.4 table J.3-2)."""
REFERENCES_MOST = 100_000
UID_MOST = 64


@dataclass(frozen=True)
class Reference:
    """An instance in a request."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class Failed:
    """An instance that is not committed, and its Failure Reason (PS3.3 C.14.1.1)."""

    sop_class_uid: str
    sop_instance_uid: str
    reason: int


@dataclass(frozen=True)
class Request:
    """The Action Information of an N-ACTION (PS3.4 table J.3-1)."""

    transaction_uid: str
    references: tuple[Reference, ...]

    @classmethod
    def read(cls, ds: Dataset) -> Request:
        """Raises NotDicom where the data set is malformed."""
        items = ds.get("ReferencedSOPSequence") or ()
        references = tuple(_reference(item) for item in items)
        if not references:
            raise NotDicom("The request names no instance.")
        if len(references) > REFERENCES_MOST:
            raise NotDicom(f"The request names more than {REFERENCES_MOST} instances.")
        return cls(_uid(ds, "TransactionUID"), references)

    def dataset(self) -> Dataset:
        ds = Dataset()
        ds.TransactionUID = UID(self.transaction_uid)
        ds.ReferencedSOPSequence = [_item(item) for item in self.references]
        return ds


@dataclass(frozen=True)
class Report:
    """The Event Information of an N-EVENT-REPORT (PS3.4 table J.3-3)."""

    transaction_uid: str
    committed: tuple[Reference, ...]
    failed: tuple[Failed, ...] = ()

    @property
    def event_type(self) -> int:
        return SOME_FAILED if self.failed else ALL_COMMITTED

    @classmethod
    def read(cls, ds: Dataset) -> Report:
        """Raises NotDicom where the data set is malformed."""
        failed = []
        for item in ds.get("FailedSOPSequence") or ():
            named = _reference(item)
            reason = item.get("FailureReason")
            failed.append(Failed(named.sop_class_uid, named.sop_instance_uid, int(reason) if reason else 0x0110))
        committed = tuple(_reference(item) for item in ds.get("ReferencedSOPSequence") or ())
        return cls(_uid(ds, "TransactionUID"), committed, tuple(failed))

    def dataset(self) -> Dataset:
        ds = Dataset()
        ds.TransactionUID = UID(self.transaction_uid)
        if self.committed:
            ds.ReferencedSOPSequence = [_item(item) for item in self.committed]
        if self.failed:
            ds.FailedSOPSequence = [_item(item) for item in self.failed]
            for item, failure in zip(ds.FailedSOPSequence, self.failed, strict=True):
                item.FailureReason = failure.reason
        return ds

    def covers(self, references: Iterable[Reference]) -> bool:
        """Whether every one of ``references`` is committed."""
        return {item.sop_instance_uid for item in references} <= {item.sop_instance_uid for item in self.committed}


class RequestLedger:
    """Our own requests to PACS, in ``folder`` (``commitments/asking``), which processes share.

    There may be several requests about a result, each with its own Transaction UID; any of the answers counts.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, destination: str, ae_title: str, request: Request) -> None:
        """Record durably a request that is about to go to ``ae_title``: only requested transactions may be reported."""
        self._folder.mkdir(parents=True, exist_ok=True)
        sync_folder(self._folder.parent)
        content = {"ae_title": ae_title, "at": time.time()}
        path = self._folder / f"{result_key(destination, request.references)}~{request.transaction_uid}.json"
        write_durably(path, json.dumps(content).encode())

    def report(self, ae_title: str, report: Report) -> bool:
        """Record durably the answer of ``ae_title``; False where no such request went to it."""
        found = next(self._folder.glob(f"*~{report.transaction_uid}.json"), None)
        if found is None or json.loads(found.read_text())["ae_title"].strip() != ae_title.strip():
            return False
        write_durably(found.with_suffix(".report"), json.dumps(asdict(report)).encode())
        return True

    def answers(self, destination: str, references: tuple[Reference, ...]) -> Iterator[Report]:
        """The answers so far about a result."""
        for path in sorted(self._folder.glob(f"{result_key(destination, references)}~*.report")):
            with contextlib.suppress(FileNotFoundError):
                yield _report(json.loads(path.read_text()))

    def answer(self, transaction_uid: str) -> Report | None:
        """The answer to one request, or None so far."""
        found = next(self._folder.glob(f"*~{transaction_uid}.report"), None)
        return _report(json.loads(found.read_text())) if found is not None else None

    def forget(self, destination: str, references: tuple[Reference, ...]) -> None:
        """Drop all requests and answers about a result."""
        for path in self._folder.glob(f"{result_key(destination, references)}~*"):
            path.unlink(missing_ok=True)

    def forget_before(self, instant: float) -> None:
        """Drop requests from before ``instant`` (seconds since the epoch) that nobody has followed up."""
        for path in self._folder.glob("*~*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < instant:
                    path.unlink()

    @property
    def open(self) -> int:
        """Number of requests that wait for their answer."""
        return sum(not path.with_suffix(".report").exists() for path in self._folder.glob("*~*.json"))


def result_key(destination: str, references: Iterable[Reference]) -> str:
    """The key of one result at one destination."""
    instances = instances_digest(item.sop_instance_uid for item in references)
    return hashlib.sha256(f"{destination}\x1f{instances}".encode()).hexdigest()[:32]


def _report(data: dict[str, Any]) -> Report:
    committed = tuple(Reference(**item) for item in data["committed"])
    return Report(data["transaction_uid"], committed, tuple(Failed(**item) for item in data["failed"]))


def _item(item: Reference | Failed) -> Dataset:
    ds = Dataset()
    ds.ReferencedSOPClassUID = UID(item.sop_class_uid)
    ds.ReferencedSOPInstanceUID = UID(item.sop_instance_uid)
    return ds


def _reference(item: Dataset) -> Reference:
    return Reference(_uid(item, "ReferencedSOPClassUID"), _uid(item, "ReferencedSOPInstanceUID"))


def _uid(ds: Dataset, keyword: str) -> str:
    value = str(ds.get(keyword, "")).strip(" \0")
    if not value or len(value) > UID_MOST or not set(value) <= set("0123456789."):
        raise NotDicom(f"There is no valid {keyword}.")
    return value
