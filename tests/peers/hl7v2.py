"""Report content for HL7 v2 tests, and a real MLLP receiver: the asyncio server of the library `hl7` (python-hl7)."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Self

import hl7
from hl7.mllp import HL7StreamReader, HL7StreamWriter, start_hl7_server

from pipeline.caveats import free_text
from pipeline.findings import codes
from pipeline.findings.identity import RunIdentity
from pipeline.findings.measurements import Measurement
from pipeline.findings.model import ClassProbability, ModelIdentity, Outcome
from pipeline.report.content import ReportContent
from pipeline.report.findings import Refusal, ReportedFindings, ReportedRegion
from pipeline.report.patient_study import Issued, Patient, SourceSeries, Study

MODEL = ModelIdentity(
    name="brain_mri_tumor",
    version="0.2.0",
    digest="0" * 64,
    title="Brain MRI tumor",
    terms=tuple(codes.class_term(name) for name in ("glioma", "meningioma", "pituitary_tumor", "no_tumor")),
)
PATIENT = Patient(
    identifier=Issued("4711", "urn:oid:1.2.276.0.99"),
    name="Müller-Lüdenscheidt, Änne",
    dicom_name="Müller-Lüdenscheidt^Änne^Maria^Dr.^M.A.",
    birth_date="1971-02-28",
    sex="F",
)


def lesion(
    tracking_id: str, tracking_uid: str, label: str, *, volume: float, axes: tuple[float, float], signal: float
) -> ReportedRegion:
    """One lesion: mm³, mm and arbitrary units."""
    return ReportedRegion(
        tracking_id,
        tracking_uid,
        label,
        (
            Measurement("volume", codes.VOLUME, volume, codes.CUBIC_MILLIMETER),
            Measurement("long_axis", codes.LONG_AXIS, axes[0], codes.MILLIMETER),
            Measurement("short_axis", codes.SHORT_AXIS, axes[1], codes.MILLIMETER),
            Measurement(
                "mean_intensity", codes.MR_SIGNAL_INTENSITY, signal, codes.ARBITRARY_UNIT, derivation=codes.MEAN
            ),
        ),
    )


FINDINGS = ReportedFindings(
    Outcome.FINDING,
    MODEL,
    predicted_class="meningioma",
    probabilities=(
        ClassProbability("glioma", 0.0401),
        ClassProbability("meningioma", 0.9312),
        ClassProbability("pituitary_tumor", 0.0187),
        ClassProbability("no_tumor", 0.01),
    ),
    regions=(lesion("Lesion 1", "2.25.111", "meningioma", volume=6023.4, axes=(27.3, 21.8), signal=812.0),),
    caveats=(free_text("The slice thickness is outside of what was validated"),),
)
REFUSED = replace(
    FINDINGS, outcome=Outcome.REFUSED, predicted_class="", probabilities=(), regions=(), caveats=(),
    refusal=Refusal("MISSING_SLICES", "Slices 3 to 5 are missing."),
)  # fmt: skip
ORDERED = Study(
    "1.2.3.1",
    "2026-01-05",
    "MR Schädel",
    Issued("ACC-1", "urn:oid:1.2.276.0.99"),
    placer_order_number=Issued("P-77", None, "KIS"),
    filler_order_number=Issued("F-88", "urn:oid:1.2.3"),
    referring_physician="Überweiser^Otto^^Dr.=山田^太郎",
    requesting_physician="Anforderer^Uta",
    admission=Issued("V-9", None, "KIS"),
)


def content_of(
    key: str = "1",
    *,
    findings: ReportedFindings = FINDINGS,
    patient: Patient = PATIENT,
    accession: str | None = "ACC-1",
) -> ReportContent:
    """The content of one run; ``key`` makes it another series."""
    return ReportContent(
        patient=patient,
        study=Study(f"1.2.3.{len(key)}", "2026-01-05", "MR Schädel", Issued(accession) if accession else None),
        source=SourceSeries(f"1.2.3.4.{key}", 3, "MR", "t1 ce", 24),
        acquired="2026-01-05T10:20:30+01:00",
        findings=findings,
        run=RunIdentity(f"1.2.3.4.{key}", "a" * 64, "0" * 64),
        objects=(),
        picture=None,
        recorded=datetime(2026, 1, 5, 11, 30, tzinfo=UTC),
    )


def named(dicom_name: str, name: str = "x", **changes: Any) -> Patient:
    return replace(PATIENT, dicom_name=dicom_name, name=name, **changes)


class MllpReceiver:
    """``answer`` maps a parsed message to what is sent back, None for nothing; ``taken`` are the parsed messages."""

    def __init__(
        self,
        answer: Callable[[hl7.Message], Any] | None = None,
        *,
        encoding: str = "utf-8",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._answer = answer or (lambda message: message.create_ack("AA"))
        self._encoding, self._tls = encoding, tls
        self.taken: list[hl7.Message] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        self._loop.close()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await start_hl7_server(
            self._converse, "127.0.0.1", 0, encoding=self._encoding, limit=1 << 28, ssl=self._tls
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        open_still = asyncio.all_tasks() - {asyncio.current_task()}
        for task in open_still:
            task.cancel()
        await asyncio.gather(*open_still, return_exceptions=True)

    async def _converse(self, reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
        try:
            while True:
                message = await reader.readmessage()
                self.taken.append(message)
                answer = self._answer(message)
                if isinstance(answer, bytes):
                    writer.write(answer)
                elif answer is not None:
                    writer.writemessage(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, hl7.HL7Exception):
            pass
        finally:
            writer.close()
