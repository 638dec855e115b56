"""A PACS as a source: C-FIND, then C-GET or C-MOVE for each series (PS3.4 annex C)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from typing import cast

from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from dicom_node.deliver.store_status import status_text
from dicom_node.fetch.outcome import SeriesOutcome, Tally
from dicom_node.fetch.sinks import Fetched, NodeSink, Sink, Taker
from dicom_node.network.association import associated, place
from dicom_node.network.find import Finder, finding
from dicom_node.network.found import FoundInstance, FoundSeries, FoundStudy, StudyQuery
from dicom_node.receive.ingest import transfer_syntaxes
from dicom_node.settings.remotes import DicomRemote
from dicom_node.store.header import read_header
from pipeline.errors import CandelaError, NotDicom, PeerUnavailable, Rejected

GET = (StudyRootQueryRetrieveInformationModelGet, PatientRootQueryRetrieveInformationModelGet)
MOVE = (StudyRootQueryRetrieveInformationModelMove, PatientRootQueryRetrieveInformationModelMove)

CONTEXTS_MOST = 128
"""Presentation contexts of one association (PS3.8 9.3.2.2: odd numbers from 1 to 255)."""
PENDING = 0xFF00
CANNOT_UNDERSTAND, DOES_NOT_MATCH, OUT_OF_RESOURCES = 0xC000, 0xA900, 0xA700
NO_DESTINATION = 0xA801

COMMON = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
"""Proposed first, where the SOP classes are too many for all transfer syntaxes."""

USUAL_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.4",  # MR
    "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR
    "1.2.840.10008.5.1.4.1.1.2",  # CT
    "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT
    "1.2.840.10008.5.1.4.1.1.1",  # CR
    "1.2.840.10008.5.1.4.1.1.1.1",  # DX, for presentation
    "1.2.840.10008.5.1.4.1.1.1.2",  # mammography, for presentation
    "1.2.840.10008.5.1.4.1.1.128",  # PET
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture
    "1.2.840.10008.5.1.4.1.1.6.1",  # ultrasound
)
"""SOP classes proposed where the PACS does not state those of a series."""


class DimseSource:
    """The PACS ``remote``, which knows us as ``calling_ae``. C-MOVE goes to the node's own AE title, ``destination``.

    ``patient_id`` is added to Patient Root queries. ``held`` returns the number of a series' instances on the node's
    disk; None where this machine cannot see it: the PACS may have moved them to another machine of that AE title.
    """

    def __init__(
        self,
        remote: DicomRemote,
        calling_ae: str,
        destination: str,
        *,
        patient_id: str = "",
        held: Callable[[str], int | None] = lambda _: None,
    ) -> None:
        self._remote = remote
        self._calling_ae = calling_ae
        self._destination = destination
        self._patient_id = patient_id
        self._held = held
        self._where = place(remote)

    def studies(self, query: StudyQuery) -> tuple[FoundStudy, ...]:
        """See `Finder.studies`."""
        with finding(self._remote, self._calling_ae, self._patient_id) as find:
            return find.studies(query)

    def series(self, study_instance_uid: str, series_instance_uid: str = "") -> tuple[FoundSeries, ...]:
        """See `Finder.series`."""
        with finding(self._remote, self._calling_ae, self._patient_id) as find:
            return find.series(study_instance_uid, series_instance_uid)

    def retrieve(self, series: FoundSeries, sink: Sink) -> SeriesOutcome:
        """Bring a series into ``sink`` by C-GET, or by C-MOVE where the PACS does not offer C-GET or the settings say
        so.

        Raises
        ------
        PeerUnavailable, PeerBusy, Rejected
            where the request itself fails; the outcome states later failures.
        """
        with finding(self._remote, self._calling_ae, self._patient_id) as find:
            instances = _listed(find, series)
        # The archive's list and its own count may differ: the larger number must arrive.
        expected = max(series.instances or 0, len(instances)) or None
        if self._remote.retrieve != "move":
            outcome = self._get(series, instances, expected, sink)
            if outcome is not None:
                return outcome
        if not isinstance(sink, NodeSink):
            raise Rejected("C-GET is not offered, and C-MOVE goes to a node only.", where=self._where, todo=NO_OUT)
        return self._move(series, expected)

    def _get(
        self, series: FoundSeries, instances: Iterable[FoundInstance], expected: int | None, sink: Sink
    ) -> SeriesOutcome | None:
        """Retrieve by C-GET; None where the PACS does not offer it and C-MOVE may be tried."""
        classes = sorted({item.sop_class_uid for item in instances if item.sop_class_uid}) or list(USUAL_CLASSES)
        with sink.series() as taker:
            getting = _Getting(series, taker)
            try:
                offered = self._get_once(classes, transfer_syntaxes(), retrieve_keys(series, self._patient_id), getting)
            except (PeerUnavailable, Rejected):
                if self._remote.retrieve == "get":
                    raise
                return None
            if offered:
                if getting.tally.failed and getting.stopped is None:
                    self._get_again(classes, series, getting)
                return getting.outcome(expected)
        if self._remote.retrieve == "get":
            raise Rejected("C-GET is not offered for these SOP classes.", where=self._where, todo=TRY_MOVE)
        return None

    def _get_once(self, classes: Sequence[str], syntaxes: Sequence[UID], query: Dataset, getting: _Getting) -> bool:
        """Run one C-GET on an association of its own; False where the PACS does not offer it."""
        contexts = [*map(build_context, GET), *storage_contexts(classes, syntaxes)]
        roles = [build_role(sop_class, scp_role=True) for sop_class in classes]
        handlers = [(evt.EVT_C_STORE, getting.store)]
        with associated(self._remote, self._calling_ae, contexts, roles=roles, handlers=handlers) as assoc:
            model = _model(assoc, GET)
            if model is None or not any(c.abstract_syntax in classes and c.as_scp for c in assoc.accepted_contexts):
                return False
            self._follow(assoc, assoc.send_c_get(query, model), getting)
        return True

    def _get_again(self, classes: Sequence[str], series: FoundSeries, getting: _Getting) -> None:
        """Request the failed instances again, with compressed transfer syntaxes only.

        Some PACS, dcmtk's among them, send every instance of a SOP class on the first context that was accepted for it.
        That context is uncompressed, and instances that are stored compressed fail.
        """
        query = retrieve_keys(series, self._patient_id)
        query.QueryRetrieveLevel = "IMAGE"
        query.SOPInstanceUID = list(getting.tally.failed)
        compressed = [syntax for syntax in transfer_syntaxes() if syntax.is_compressed]
        before = list(getting.tally.reasons)
        try:
            self._get_once(classes, compressed, query, getting)
        except CandelaError:
            getting.tally.reasons = before  # the first failure says more

    def _follow(
        self, assoc: Association, responses: Iterable[tuple[Dataset, Dataset | None]], getting: _Getting
    ) -> None:
        """Read C-GET responses to the last. Stop at once where the sink can store nothing more."""
        for status, identifier in responses:
            if getting.stopped is not None:
                assoc.abort()
                return
            code = status.get("Status")
            if code is None:
                getting.tally.reasons.append("the association was lost, or no answer came in time")
            elif code != PENDING:
                _note_end(getting.tally, status, identifier)

    def _move(self, series: FoundSeries, expected: int | None) -> SeriesOutcome:
        """Retrieve by C-MOVE to the node. The PACS states what it moved, and the node's disk shows whether that is
        true.
        """
        tally = Tally()
        completed = warned = failed = 0
        with associated(self._remote, self._calling_ae, [*map(build_context, MOVE)]) as assoc:
            model = _model(assoc, MOVE)
            query = retrieve_keys(series, self._patient_id)
            for status, identifier in assoc.send_c_move(query, self._destination, cast("str", model)):
                code = status.get("Status")
                if code is None:
                    tally.reasons.append("the association was lost, or no answer came in time")
                    break
                completed = int(status.get("NumberOfCompletedSuboperations") or completed)
                warned = int(status.get("NumberOfWarningSuboperations") or warned)
                failed = int(status.get("NumberOfFailedSuboperations") or failed)
                if code != PENDING:
                    _note_end(tally, status, identifier)
        came = completed + warned
        failed = max(failed, len(tally.failed))
        if failed and not tally.reasons:
            tally.reasons.append(f"{failed} sub-operations failed, as the PACS says: its log tells why")
        held = self._held(series.series_instance_uid)
        if held is not None and held < came:
            tally.reasons.append(
                f"the PACS says that it moved {came} to {self._destination}, but this node has {held}: check which host"
                f" and port the PACS has for {self._destination}"
            )
            came = held
        return SeriesOutcome(
            series.study_instance_uid,
            series.series_instance_uid,
            series.modality,
            "C-MOVE",
            expected,
            came,
            failed,
            warned,
            tuple(tally.failed),
            tuple(tally.reasons),
        )


NO_OUT = "Fetch into the node, without --out."
TRY_MOVE = 'Set retrieve = "move" for this remote, and enter our AE title, host and port there.'


class _Getting:
    """The instances that arrive by C-GET for one series."""

    def __init__(self, series: FoundSeries, taker: Taker) -> None:
        self.tally = Tally()
        self.stopped: CandelaError | None = None
        self._series = series
        self._taker = taker

    def store(self, event: evt.Event) -> int:
        """Answer a C-STORE sub-operation (PS3.4 C.4.3) with the status of the taker.

        ======  ==========================================================================================
        0x0000  on stable storage
        0xA700  nothing can be stored any more
        0xA900  not of the series asked for, or not what the command says
        0xC000  cannot be read
        other   what the node answered
        ======  ==========================================================================================
        """
        request = cast(C_STORE, event.request)
        named = str(request.AffectedSOPInstanceUID)
        try:
            status = self._keep(event, request)
        except NotDicom:
            status = CANNOT_UNDERSTAND
        except CandelaError as error:  # pynetdicom would answer 0xC211 and go on
            self.stopped = error
            status = OUT_OF_RESOURCES
        self.tally.note(named, status, status_text(status))
        return status

    def _keep(self, event: evt.Event, request: C_STORE) -> int:
        if self.stopped is not None:
            return OUT_OF_RESOURCES
        encoded = cast(BytesIO, request.DataSet).getbuffer()
        header = read_header(encoded, event.context.transfer_syntax)
        named = (str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
        if named != (header.sop_class_uid, header.sop_instance_uid):
            return DOES_NOT_MATCH
        if header.series_instance_uid != self._series.series_instance_uid:
            return DOES_NOT_MATCH
        return self._taker.take(Fetched(header, event.context.transfer_syntax, encoded))

    def outcome(self, expected: int | None) -> SeriesOutcome:
        tally, series = self.tally, self._series
        if self.stopped is not None:
            tally.reasons.append(str(self.stopped))
        return SeriesOutcome(
            series.study_instance_uid,
            series.series_instance_uid,
            series.modality,
            "C-GET",
            expected,
            len(tally.came),
            len(tally.failed),
            tally.warned,
            tuple(tally.failed),
            (*tally.reasons, *sorted(set(tally.failed.values()))),
        )


def storage_contexts(classes: Iterable[str], syntaxes: Sequence[UID]) -> list[PresentationContext]:
    """Presentation contexts for receiving ``classes`` in ``syntaxes``.

    A context of its own for each transfer syntax, so that the PACS can send each instance as it is stored; where the
    classes are too many for that, common syntaxes come first.
    """
    names = sorted(set(classes))
    each = (CONTEXTS_MOST - len(GET)) // max(1, len(names))
    ordered = sorted(syntaxes, key=lambda syntax: (COMMON.index(syntax) if syntax in COMMON else len(COMMON), syntax))
    if each == 0:
        raise Rejected(f"A series of {len(names)} SOP classes cannot be fetched by C-GET.", todo=TRY_MOVE)
    if each == 1:
        return [build_context(name, [*ordered]) for name in names]
    return [build_context(name, syntax) for name in names for syntax in ordered[:each]]


def _listed(find: Finder, series: FoundSeries) -> tuple[FoundInstance, ...]:
    """The instances of a series; none where the PACS does not answer at that level."""
    try:
        return find.instances(series.study_instance_uid, series.series_instance_uid)
    except Rejected:
        return ()


def _model(assoc: Association, models: tuple[str, ...]) -> str | None:
    accepted = {str(context.abstract_syntax) for context in assoc.accepted_contexts}
    return next((model for model in models if model in accepted), None)


def retrieve_keys(series: FoundSeries, patient_id: str) -> Dataset:
    """The identifier of a C-GET or C-MOVE request for ``series``."""
    query = Dataset()
    query.QueryRetrieveLevel = "SERIES"
    if patient_id:
        query.PatientID = patient_id
    query.StudyInstanceUID = series.study_instance_uid
    query.SeriesInstanceUID = series.series_instance_uid
    return query


def _note_end(tally: Tally, status: Dataset, identifier: Dataset | None) -> None:
    """Note a final response: its failure, and the instances that it lists as failed (0008,0058)."""
    code = int(status.Status)
    for name in _names(identifier):
        tally.failed.setdefault(name, "a sub-operation failed")
    failed = int(status.get("NumberOfFailedSuboperations") or 0)
    if code == NO_DESTINATION:
        tally.reasons.append("the PACS does not know our AE title as a destination (0xA801): enter it there")
    elif failed > len(tally.failed):
        tally.reasons.append(f"{failed} sub-operations failed, as the PACS says (0x{code:04X})")
    elif code != 0x0000 and not tally.failed:
        tally.reasons.append(f"the PACS ended with status 0x{code:04X}")


def _names(identifier: Dataset | None) -> tuple[str, ...]:
    value = identifier.get("FailedSOPInstanceUIDList") if identifier is not None else None
    if not value:
        return ()
    return (str(value),) if isinstance(value, str) else tuple(str(item) for item in value)
