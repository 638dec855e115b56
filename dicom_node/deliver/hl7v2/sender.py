"""Delivery of the report to an EHR without FHIR: an HL7 v2 message over MLLP, done when it is acknowledged."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from zoneinfo import ZoneInfo

from dicom_node.deliver.hl7v2 import acknowledgement, oru
from dicom_node.deliver.hl7v2.mllp import Mllp
from dicom_node.deliver.in_flight import slot
from dicom_node.network.tls import client_context
from dicom_node.settings.hl7v2 import Hl7v2Destination
from pipeline.errors import Broken
from pipeline.report.content import ReportContent
from pipeline.report.sentences import Language
from pipeline.report.stored import from_json, page_filename, stored_in
from pipeline.report.withdrawal import withdrawal_in


class Hl7v2Sender:
    """Builds the message from the stored report content and sends it. ``locks`` and ``zone`` as in
    `deliver.fhir.FhirSender`.
    """

    def __init__(self, destination: Hl7v2Destination, locks: Path, zone: ZoneInfo | None = None) -> None:
        self._destination = destination
        self._zone = zone
        self._locks = locks
        self._where = f"{destination.host}:{destination.port}"
        self._peer = receiver_of(destination)

    def send(self, files: tuple[Path, ...]) -> str:
        """See `Sender.send`. ``files`` are the report content and, where the run made one, the PDF; or the report
        content and its withdrawal.
        """
        stored = stored_in(files)
        if stored is None:
            raise Broken("There is no stored report content among the result files.", where=str(files[0].parent))
        content = from_json(stored.read_bytes(), where=str(stored))
        page = self._page({path.name: path for path in files}) if self._destination.pdf else None
        withdrawal = withdrawal_in(files)
        if withdrawal is None:
            message = oru.build(content, self._destination, page.read_bytes() if page else None, zone=self._zone)
        else:
            message = oru.build(content, self._destination, zone=self._zone, withdrawal=withdrawal)
        with slot(self._locks, self._where, self._destination.maximum_in_flight, self._destination.timeout):
            answer = self._peer.exchange(message.data)
        code = acknowledgement.check(answer, message.control_id, self._where, _secrets(content))
        return f"{code}, message {message.control_id}"

    def _page(self, by_name: dict[str, Path]) -> Path | None:
        """The PDF in the destination's language; in English where the run took place before that language was
        requested.
        """
        names = [page_filename(language) for language in (Language(self._destination.language), Language.ENGLISH)]
        return next((by_name[name] for name in names if name in by_name), None)


def receiver_of(destination: Hl7v2Destination) -> Mllp:
    """The receiver that the settings name. Raises BadSettings where its certificates cannot be used."""
    tls = destination.tls
    return Mllp(
        destination.host,
        destination.port,
        destination.timeout,
        client_context(tls) if tls else None,
        tls.server_name if tls else None,
    )


def _secrets(content: ReportContent) -> Iterable[str]:
    """Values that name the patient, which a receiver may repeat."""
    patient, study = content.patient, content.study
    numbers = (patient.identifier, study.accession, study.placer_order_number, study.filler_order_number)
    texts = {patient.name, patient.dicom_name, *patient.name.replace(",", " ").split()}
    texts |= {item.value for item in (*numbers, study.admission) if item is not None}
    texts.add(patient.birth_date.replace("-", ""))
    return frozenset(text for text in texts if len(text) > 1)
