"""Key object selection (KOS): the image to look at first, and the results that say why.

Key Object Selection Document (PS3.3 A.35.4) with the template TID 2010 (PS3.16): a PACS lists it beside the study, and
a click leads to the key image.
"""

from __future__ import annotations

import highdicom as hd
from pydicom.dataset import Dataset

from pipeline.findings import codes
from pipeline.findings.own_results import MANUFACTURER
from pipeline.patient.requests import referenced_requests
from pipeline.results.provenance import ResultContext, finish
from pipeline.results.result_object import ResultObject
from pipeline.results.seg.segmentation import coded
from pipeline.results.source_images import image_reference
from pipeline.results.sr.image_item import image_item
from pipeline.results.sr.observer import observer_context
from pipeline.results.wording import DISCLAIMER, ascii_text, conclusion

KIND = "keyobjects"


def build(context: ResultContext, results: tuple[ResultObject, ...]) -> tuple[ResultObject, ...]:
    """One selection: the key image of the source, then ``results``, this run's objects for the same destination.

    Of the overlays it has the summary and the page of the key image. Nothing where there is no result to point at.
    """
    findings = context.findings
    key = image_reference(context.volume, findings.key_slice)
    overlays = [item.dataset for item in results if item.role == "overlay"]
    chosen = [ds for ds in overlays if ds is overlays[0] or _shows(ds, key)]
    chosen += [item.dataset for item in results if item.role != "overlay"]
    if not chosen:
        return ()
    content = hd.ko.KeyObjectSelection(
        document_title=coded(codes.OF_INTEREST),
        referenced_objects=chosen,
        observer_device_context=observer_context(context),
        description=ascii_text(
            f"{DISCLAIMER}. {conclusion(findings)} {findings.model.title} {findings.model.version}."
        ),
    )
    root = content[0]
    at = next(n for n, item in enumerate(root.ContentSequence) if item.ValueType in ("IMAGE", "COMPOSITE"))
    items = [*root.ContentSequence]
    root.ContentSequence = hd.sr.ContentSequence([*items[:at], image_item(key), *items[at:]])
    made = hd.ko.KeyObjectSelectionDocument(
        evidence=[*(ds for ds in context.instances if ds.SOPInstanceUID == key.ReferencedSOPInstanceUID), *chosen],
        content=content,
        series_instance_uid=context.series_uid(KIND),
        series_number=1,
        sop_instance_uid=context.instance_uid(KIND),
        instance_number=1,
        manufacturer=MANUFACTURER,
    )
    ds = finish(made, context, kind=KIND, number=1, description="key images")
    if requests := referenced_requests(context.volume.identity):
        ds.ReferencedRequestSequence = requests
    return (ResultObject(role=KIND, filename="keyobjects.dcm", dataset=ds),)


def _shows(page: Dataset, key: Dataset) -> bool:
    """Whether ``page`` was made of the image that ``key`` refers to."""
    return any(
        item.ReferencedSOPInstanceUID == key.ReferencedSOPInstanceUID
        and item.get("ReferencedFrameNumber") == key.get("ReferencedFrameNumber")
        for item in page.get("SourceImageSequence", ())
    )
