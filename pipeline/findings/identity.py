"""Identifiers that are functions of their input, so that repeated work gives the same result."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pipeline.reading.validation import is_regular_uid

NAMESPACE = uuid.UUID("6b1c5a0e-3f5d-5a0e-9a53-2f6f1d5f0c11")
"""Namespace of every UID that Candela derives. Never change it: every result would be duplicated."""


ANSWER_REVISION = 1
"""Revision of the code between the stored pixels and the answer. It is part of every model's digest.

Raise it in the commit that changes what a model answers for the same series and bundle: decoding, geometry,
preprocessing, inference, aggregation, measuring. ``tests/golden`` fails where such a change comes without it.
"""

RESULTS_REVISION = 2
"""Revision of the code between the answer and the bytes of result objects. It is part of every result's UID.

Raise it in the commit that changes the content of any result for the same answer: drawing, wording, codes, a library
that writes or draws. ``tests/golden`` fails where such a change comes without it.
"""

UNNUMBERED = 0
"""The results revision of runs that Candela 0.1.0 stored: their UIDs do not depend on one."""


def derived_uid(*parts: str, root: str | None = None) -> str:
    """A DICOM UID that depends on ``parts`` alone.

    Without ``root`` it is a UUID-derived UID (``2.25.`` and a decimal UUID, PS3.5 B.2). With an organisation's root
    it is the root, a dot, and as many decimal digits of a SHA-256 as fit into 64 characters.

    Raises
    ------
    ValueError
        where ``root`` is not a UID or leaves fewer than 24 digits for the hash.
    """
    name = "\x1f".join(parts)
    if root is None:
        return f"2.25.{uuid.uuid5(NAMESPACE, name).int}"
    if not is_regular_uid(root):
        raise ValueError(f"not a UID root: {root!r}")
    room = 64 - len(root) - 1
    if room < 24:
        raise ValueError(f"UID root is too long to derive from: {root!r}")
    digits = str(int.from_bytes(hashlib.sha256(f"{NAMESPACE}{name}".encode()).digest(), "big"))
    return f"{root}.{digits.lstrip('0')[:room]}"


def instances_digest(sop_instance_uids: Iterable[str]) -> str:
    """SHA-256 (hex) of a set of SOP Instance UIDs; order and repetition do not matter."""
    joined = "\n".join(sorted(set(sop_instance_uids)))
    return hashlib.sha256(joined.encode()).hexdigest()


def job_id(
    series_instance_uid: str, sop_instance_uids: Iterable[str], model_digest: str, identity_from: str | None = None
) -> str:
    """Workflow id of one model's run over one revision of a series: a resend gives the same id, a late slice another.

    ``identity_from`` as in `RunIdentity`: another choice is another job.
    """
    if identity_from is not None:
        sop_instance_uids = (*sop_instance_uids, f"identity from {identity_from}")
    return f"{series_instance_uid}:{instances_digest(sop_instance_uids)[:16]}:{model_digest[:12]}"


@dataclass(frozen=True)
class Predecessor:
    """An earlier run over the same series whose results a later run's replace.

    ``instances`` is the `instances_digest` that it read, ``results_revision`` the `RESULTS_REVISION` that built its
    results, ``expected`` and ``began`` as in `RunIdentity`: all are needed to derive the UID of its report.
    """

    instances: str
    results_revision: int = RESULTS_REVISION
    expected: int | None = None
    began: str | None = None


@dataclass(frozen=True)
class RunIdentity:
    """One model's run over one revision of a series, from which every UID of its results is derived.

    ``instances`` is the `instances_digest` of the revision; ``root`` the organisation's UID root, or None.
    ``predecessors`` are the earlier runs whose results this run replaces, oldest first: the content of a result depends
    on them, and so do its UIDs. ``results_revision`` is the `RESULTS_REVISION` of the code that built the results: a
    release that builds them differently gives them other UIDs. ``identity_from`` is the SOP Instance UID of the
    instance whose patient an operator has chosen (`pipeline.patient.subject`): such a run's results share no UID and no
    series with those of any other. ``expected`` is a peer's count of instances, where that exceeds those read: results
    repeat it. ``withdrawn`` is a digest of the earlier runs over the series whose results were
    withdrawn, None without any: their series may lie in another patient's study, so this run's results share none.
    ``began`` is the instant at which the analysis began (ISO 8601 with its offset, whole seconds): results
    state it. It is None for runs of Candela 0.2.0 and earlier, whose results state the latest time of the source.
    """

    series_instance_uid: str
    instances: str
    model_digest: str
    root: str | None = None
    predecessors: tuple[Predecessor, ...] = ()
    results_revision: int = RESULTS_REVISION
    identity_from: str | None = None
    expected: int | None = None
    withdrawn: str | None = None
    began: str | None = None

    @property
    def previous(self) -> RunIdentity | None:
        """The run whose results this run replaces."""
        if not self.predecessors:
            return None
        *earlier, last = self.predecessors
        return replace(
            self,
            instances=last.instances,
            predecessors=tuple(earlier),
            results_revision=last.results_revision,
            expected=last.expected,
            began=last.began,
        )

    def lineage_uid(self, *what: str) -> str:
        """UID of an object that the runs over all revisions of the series share, e.g. a result series."""
        return derived_uid("lineage", self.series_instance_uid, self.model_digest, *self.chosen, *what, root=self.root)

    def uid(self, *what: str) -> str:
        """UID of an object of this run, e.g. ``uid("instance", "report", "1")``.

        ``uid("lesion", "1")`` is the tracking UID of lesion 1, ``uid("observation", "lesion", "1", "volume")`` the
        observation UID of its volume, the same in SR and FHIR.
        """
        replaced = [part for item in self.predecessors for part in (item.instances, *_built(item))]
        after = ("after", *replaced) if replaced else ()
        about = (self.series_instance_uid, self.instances, self.model_digest, *after, *_built(self), *self.chosen)
        return derived_uid("run", *about, *what, root=self.root)

    @property
    def chosen(self) -> tuple[str, ...]:
        """The parts of a UID that an operator's choice and withdrawn runs add; none without them."""
        choice = () if self.identity_from is None else ("identity from", self.identity_from)
        return choice if self.withdrawn is None else (*choice, "after withdrawn", self.withdrawn)

    @property
    def device_uid(self) -> str:
        """UID of the algorithm as a device: changes when the model changes, and only then."""
        return derived_uid("device", self.model_digest, root=self.root)


def _built(run: RunIdentity | Predecessor) -> tuple[str, ...]:
    """The parts of a UID that a run adds to the instances that it read; what a run lacks adds none."""
    numbered = () if run.results_revision == UNNUMBERED else ("results", str(run.results_revision))
    counted = () if run.expected is None else ("expected", str(run.expected))
    begun = () if run.began is None else ("began", run.began)
    return (*numbered, *counted, *begun)
