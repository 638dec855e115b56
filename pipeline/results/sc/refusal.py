"""The page that says why a series was not read, for destinations that ask for refusals (ADR 10)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from pipeline.errors import BadIdentity, MixedPatients, MixedStudies, Refused
from pipeline.findings import codes
from pipeline.findings.identity import RunIdentity, instances_digest
from pipeline.findings.model import Findings, ModelIdentity, Outcome
from pipeline.geometry.volume import Volume
from pipeline.patient.source_values import cleaned
from pipeline.patient.subject import reconcile
from pipeline.report import sentences
from pipeline.report.content import whole_seconds
from pipeline.results.drawing.canvas import DIM, TEXT, Canvas, Pixels
from pipeline.results.drawing.page_parts import FOOT, HEAD, INNER, MARGIN, frame, shown
from pipeline.results.provenance import ResultContext, code_item, finish, set_body_part
from pipeline.results.result_object import ResultObject
from pipeline.results.sc.overlay import rgb_image, series_item
from pipeline.results.source_images import instance_reference
from pipeline.results.wording import DISCLAIMER, ascii_text

KIND = "refusal"
TITLE = "Not read by the algorithm"
MEANING = "There is no result. This says nothing about the patient."


def build(
    sources: Sequence[Dataset],
    refusal: Refused,
    model: ModelIdentity,
    root: str | None = None,
    identity_from: str | None = None,
    *,
    companions: Sequence[Sequence[Dataset]] = (),
    began: datetime | None = None,
) -> tuple[ResultObject, ...]:
    """One Secondary Capture image with the reason, for the series whose headers are ``sources``, and those of the
    other channels of its model, the ``companions``.

    None where the images do not name one patient and study: a page can only be filed under one (ADR 47); or where no
    result could name the patient (ADR 49).
    ``identity_from`` as in `pipeline.patient.subject.reconcile`.

    It claims no geometry, which often is what is wrong, and names the first image of each series. Its UIDs are
    derived from the instances, the model, the reason and the instant at which the analysis ``began``.
    """
    try:
        every = [ds for one in (sources, *companions) for ds in one]
        subject = reconcile(every, identity_from)
        sources, identity, caveats = cleaned(sources, subject.header)
        notes = tuple(map(sentences.caveat, caveats))
    except (MixedPatients, MixedStudies, BadIdentity):
        return ()
    pixels = _page(refusal, model, notes)
    header = sources[0]
    uids = [str(ds.SOPInstanceUID) for ds in every]
    nothing = np.zeros((1, 1, 1), np.float32)
    # Another reason is another page, and may not stand under the same SOP Instance UID.
    run = RunIdentity(
        str(header.SeriesInstanceUID),
        instances_digest([*uids, str(refusal)]),
        model.digest,
        root,
        identity_from=identity_from,
        began=None if began is None else whole_seconds(began).isoformat(),
    )
    findings = Findings(Outcome.REFUSED, "", (), (), nothing, 0, model)
    context = ResultContext(Volume(nothing, np.eye(4), tuple(sources), subject=identity), findings, run)
    ds = Dataset()
    ds.SOPClassUID = SecondaryCaptureImageStorage
    ds.Modality = "OT"
    ds.ConversionType = "WSD"
    ds.ImageType = ["DERIVED", "SECONDARY"]
    set_body_part(ds, context)
    ds.PatientOrientation = None
    ds.BurnedInAnnotation = "YES"
    ds.LossyImageCompression = "00"
    ds.ImageComments = ascii_text(" ".join((f"{DISCLAIMER}. {TITLE}: {refusal}", *notes)), 10240)
    ds.SourceImageSequence = [instance_reference(header)]
    ds.SourceImageSequence[0].PurposeOfReferenceCodeSequence = [code_item(codes.SOURCE_IMAGE)]
    ds.ReferencedSeriesSequence = [series_item(header), *(series_item(one[0]) for one in companions)]
    rgb_image(ds, pixels)
    made = finish(ds, context, kind=KIND, number=1, description="refusal")
    return (ResultObject(role=KIND, filename="refusal.dcm", dataset=made, preview=pixels),)


def _page(refusal: Refused, model: ModelIdentity, notes: Sequence[str]) -> Pixels:
    canvas = Canvas()
    frame(canvas, model, page=1, pages=1)
    canvas.text((MARGIN, HEAD), TITLE, size=46)
    canvas.text((MARGIN, HEAD + 60), MEANING, size=22, colour=DIM)
    y = HEAD + 130.0
    for label, text, size in (
        ("Why", refusal.what, 28),
        ("Where", refusal.where, 20),
        ("What can be done", refusal.todo, 24),
        ("Code", refusal.code, 20),
        ("Header", " ".join(notes), 20),
    ):
        if not text or y > FOOT - 60:
            continue
        canvas.text((MARGIN, y), label, size=18, colour=DIM)
        left = int((FOOT - y - 28) / (size * 1.35))
        said = shown(text, "The reason is in summary.json and in `candela jobs show`.")
        y = canvas.paragraph((MARGIN, y + 28), said, most=INNER, lines=max(1, min(8, left)), size=size, colour=TEXT)
        y += 34
    return canvas.pixels()
