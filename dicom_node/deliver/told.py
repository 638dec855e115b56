"""What a PACS said of the instances of one result, by C-STORE or STOW-RS."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from dicom_node.deliver.journal import Journal
from dicom_node.deliver.negotiation import Instance
from dicom_node.deliver.store_status import StatusMeaning, status_text, verdict
from pipeline.errors import PeerBusy, Rejected


@dataclass
class Told:
    """What the PACS at ``place`` said so far of the ``count`` instances of a result.

    ``notes`` counts the statuses of those that it stored, ``there`` those that it had already; ``refused`` has the
    reason for each that it refused. ``advice`` is for the operator who sees the refusals.
    """

    place: str
    count: int
    advice: str
    journal: Journal | None = None
    reached: int = 0
    there: int = 0
    notes: Counter[int] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)

    def next(self) -> str:
        """The next instance, in words."""
        self.reached += 1
        return f"instance {self.reached} of {self.count}"

    def status(self, status: int, instance: Instance, which: str) -> None:
        """Note the PACS's ``status`` for ``instance``, which is ``which`` in words.

        Raises
        ------
        PeerBusy
            where it asks for a later attempt.
        """
        meaning = verdict(status)
        if meaning is StatusMeaning.LATER:
            raise self.busy(status_text(status), which)
        if meaning is StatusMeaning.NEVER:
            self.refused.append(f"instance {instance.sop_instance}: {status_text(status)}")
        else:
            self.stored(status, instance)

    def busy(self, answer: str, which: str, retry_after: float | None = None) -> PeerBusy:
        """The error for an ``answer`` that asks for a later attempt, in ``retry_after`` seconds where it says so."""
        return PeerBusy(
            f"The PACS answered {answer} to {which}.",
            where=self.place,
            todo="It is tried again; see the PACS's own log for its reason.",
            retry_after=retry_after,
        )

    def stored(self, status: int, instance: Instance) -> None:
        """Note that the PACS stored ``instance`` with ``status``, a success or a warning."""
        self.notes[status] += 1
        if self.journal:
            self.journal.note(instance.sop_instance, instance.path)

    def receipt(self) -> str:
        """The receipt of the whole result.

        Raises
        ------
        Rejected
            where the PACS refused an instance.
        """
        if self.refused:
            reasons = "; ".join(self.refused[:3])
            raise Rejected(
                f"The PACS refused {len(self.refused)} of {self.count} instances: {reasons}.",
                where=self.place,
                todo=self.advice,
            )
        stored = sum(self.notes.values())
        earlier = f"{self.there} sent earlier"
        if self.there and not stored:
            return earlier
        told = ", ".join(f"{count} × {status_text(status)}" for status, count in sorted(self.notes.items()) if status)
        text = f"{stored} instance{'' if stored == 1 else 's'} stored, {told or '0x0000'}"
        return f"{text}; {earlier}" if self.there else text
