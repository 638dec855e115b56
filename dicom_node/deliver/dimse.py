"""Delivery to a PACS by C-STORE."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context

from dicom_node.deliver.journal import Journal
from dicom_node.deliver.negotiation import (
    Instance,
    accepted,
    batches,
    instance_of,
    none_accepted,
    not_accepted,
    proposals,
    taken,
)
from dicom_node.deliver.presence import FIND, held
from dicom_node.deliver.told import Told
from dicom_node.network import tls
from dicom_node.network.entity import application_entity
from dicom_node.settings.destinations import DicomDestination
from pipeline.errors import BadPixels, CandelaError, PeerUnavailable, Rejected
from pipeline.pixels.native import make_native

REJECT_PERMANENT = 1
SERVICE_USER, ACSE_PROVIDER = 1, 2
REJECTED_FOR_GOOD = {(SERVICE_USER, 2), (ACSE_PROVIDER, 2)}
"""(source, reason) of PS3.8 9.3.4 that no configuration cures: application context or protocol version unsupported."""


@dataclass
class _Answered:
    """The instance of the last response, which pynetdicom's own calls do not return. A PACS may leave it out."""

    uid: str | None = None

    def note(self, event: evt.Event) -> None:
        uid = event.message.command_set.get("AffectedSOPInstanceUID")
        self.uid = str(uid) if uid else None


class DimseSender:
    """Storage SCU for one PACS, with one association for each result (more only where its objects have so many SOP
    classes and transfer syntaxes that one association cannot offer them all).

    With ``resumes`` the instances that the PACS took are noted beside the files of the result. A later `send` of the
    same files skips them, unless the PACS, asked by C-FIND where it offers that, has lost them.
    """

    def __init__(self, destination: DicomDestination, calling_ae_title: str, *, resumes: bool = False) -> None:
        self.destination = destination
        self._resumes = resumes
        self._calling_ae_title = calling_ae_title
        self.place = f"{destination.peer.ae_title} at {destination.peer.host}:{destination.peer.port}"

    def send(self, files: tuple[Path, ...]) -> str:
        """See `Sender.send`. An instance that the PACS refuses does not stop the others.

        Raises
        ------
        PeerUnavailable
            connection refused or lost, no answer in time, association rejected or aborted.
        PeerBusy
            the PACS asked for a later attempt (0xA7xx, 0x0110).
        Rejected
            the PACS never accepts a SOP class or an instance.
        """
        instances = tuple(instance_of(path) for path in files)
        advice = "Make the PACS take such objects from this AE title, then `candela jobs retry`."
        told = Told(self.place, len(instances), advice, self._journal(files))
        for batch in batches(instances):
            self._send_batch(batch, told)
        return told.receipt()

    def _send_batch(self, batch: tuple[Instance, ...], told: Told) -> None:
        """Send ``batch`` by one association, and note in ``told`` what became of each instance."""
        journal = told.journal
        before = [item for item in batch if journal and journal.has(item.sop_instance, item.path)]
        contexts = [build_context(*pair) for pair in proposals(batch)]
        if before:
            contexts.append(build_context(FIND))
        answered = _Answered()
        there: set[str] = set()
        with self.association(contexts, [(evt.EVT_DIMSE_RECV, answered.note)]) as assoc:
            if journal and before:
                there = _still_there(assoc, before, journal)
            for instance in batch:
                which = told.next()
                if instance.sop_instance in there:
                    told.there += 1
                    continue
                if not accepted(assoc, instance):
                    told.refused.append(not_accepted(assoc, instance))
                    continue
                try:
                    status = self._store(assoc, instance, answered, which)
                except BadPixels as error:
                    told.refused.append(str(error))
                    continue
                told.status(status, instance, which)

    def send_again(self, files: tuple[Path, ...], sop_instance_uids: Collection[str]) -> None:
        """Have the next `send` of ``files`` send these instances even though the PACS took them."""
        journal = self._journal(files)
        if journal:
            journal.forget(sop_instance_uids)

    def _journal(self, files: tuple[Path, ...]) -> Journal | None:
        return Journal(files[0].parent, self.place) if self._resumes else None

    def _store(self, assoc: Association, instance: Instance, answered: _Answered, which: str) -> int:
        answered.uid = None
        # Read whole, so that pynetdicom can re-encode for a PACS that accepts only implicit VR.
        ds = dcmread(instance.path)
        if instance.transfer_syntax.is_encapsulated and instance.transfer_syntax not in taken(assoc, instance):
            make_native(ds)
        answer = assoc.send_c_store(ds)
        if "Status" not in answer:
            raise PeerUnavailable(
                f"The PACS broke the association or did not answer within {self.destination.timeout:g} s"
                f" while {which} was sent.",
                where=self.place,
                todo="It is tried again.",
            )
        if answered.uid not in {None, instance.sop_instance}:
            raise PeerUnavailable(
                f"The PACS answered for another instance than the one sent ({which}): the line may be at fault.",
                where=self.place,
                todo="It is tried again.",
            )
        return int(answer.Status)

    @contextmanager
    def association(
        self, contexts: Sequence[PresentationContext], handlers: Sequence[tuple[Any, Any]] = ()
    ) -> Iterator[Association]:
        """An association with the PACS, released at the end, aborted after an error.

        Raises
        ------
        PeerUnavailable
            as `send`.
        Rejected
            where none of ``contexts`` is accepted.
        BadSettings
            where the PACS wants TLS and our certificates cannot be used.
        """
        ae = application_entity(self._calling_ae_title)
        timeout = self.destination.timeout
        ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = timeout
        opened: list[bool] = []
        assoc = ae.associate(
            self.destination.peer.host,
            self.destination.peer.port,
            contexts=[*contexts],
            ae_title=self.destination.peer.ae_title,
            evt_handlers=[(evt.EVT_CONN_OPEN, lambda _: opened.append(True)), *handlers],
            tls_args=tls.towards(self.destination.peer),
        )
        if not assoc.is_established:
            raise self._no_association(assoc, connected=bool(opened))
        try:
            yield assoc
        except BaseException:
            assoc.abort()
            raise
        if assoc.is_established:
            assoc.release()

    def _no_association(self, assoc: Association, *, connected: bool) -> CandelaError:
        if assoc.is_rejected:
            return self._rejection(assoc.acceptor.primitive)
        if assoc.rejected_contexts:
            reasons = "; ".join(none_accepted(assoc, besides=FIND))
            return Rejected(
                f"The PACS accepted none of the presentation contexts offered: {reasons}.",
                where=self.place,
                todo="Make the PACS take such objects from this AE title, then `candela jobs retry`.",
            )
        if connected:
            what = "took the connection but aborted the association or did not answer it in time"
            return PeerUnavailable(f"The PACS {what}.", where=self.place, todo="Is it a DICOM port? It is tried again.")
        how = ", or TLS failed" if self.destination.peer.tls else ""
        return PeerUnavailable(
            f"The PACS cannot be reached: connection refused or timed out{how}.",
            where=self.place,
            todo="Check host, port and firewall; it is tried again.",
        )

    def _rejection(self, answer: Any) -> CandelaError:
        """The error for an A-ASSOCIATE-RJ (PS3.8 9.3.4).

        A rejection for an unknown AE title is retried although the PACS calls it permanent: an administrator may enter
        the title meanwhile.
        """
        says = f"{answer.result_str}, {answer.reason_str}".lower()
        text = f"The PACS rejected the association: {says}."
        for_good = answer.result == REJECT_PERMANENT and (answer.result_source, answer.diagnostic) in REJECTED_FOR_GOOD
        if for_good:
            return Rejected(text, where=self.place, todo="It does not speak this protocol version.")
        return PeerUnavailable(
            text,
            where=self.place,
            todo=f"Enter AE title {self._calling_ae_title} in the PACS, and check"
            f" {self.destination.peer.ae_title} here; it is tried again.",
        )


def _still_there(assoc: Association, before: list[Instance], journal: Journal) -> set[str]:
    """The instances of ``before``, which the PACS took, that it still has; lost ones are removed from the journal."""
    taken = {str(item.sop_instance) for item in before}
    found = held(assoc, [item.path for item in before])
    if found is None:  # without C-FIND, assume that it still has what it took
        return taken
    journal.forget(taken - found)
    return taken & found
