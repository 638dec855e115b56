"""The key picture as a resource that a browser shows: Media in R4, DocumentReference in R5, which has no Media."""

from __future__ import annotations

from fhir.bundle.coding import attachment, dicom_identifier, hl7_concept
from fhir.bundle.context import ReportContext
from fhir.bundle.entry import Entry
from fhir.release import Release
from pipeline.findings import codes
from pipeline.report.key_image import Picture

MODALITY = {"coding": [{"system": codes.SYSTEMS["DCM"], "code": "OT"}]}


def build(context: ReportContext) -> Entry | None:
    """The key picture, identified by the SOP Instance UID of its overlay; None without a key picture."""
    picture = context.content.picture
    if picture is None:
        return None
    return _media(context, picture) if context.release is Release.R4 else _document(context, picture)


def _media(context: ReportContext, picture: Picture) -> Entry:
    resource = Release.R4.make(
        "Media",
        meta=context.meta(),
        identifier=[dicom_identifier(picture.sop_instance_uid)],
        status="completed",
        type=hl7_concept("media-type", "image", "Image"),
        modality=MODALITY,
        subject=context.subject,
        createdDateTime=context.recorded,
        bodySite=context.site(context.findings.predicted_class),
        device=context.device(),
        height=picture.height,
        width=picture.width,
        content=_content(context, picture),
        note=[context.note()],
    )
    return Entry(context.full_url("Media"), resource)


def _document(context: ReportContext, picture: Picture) -> Entry:
    content = _content(context, picture) | {"height": picture.height, "width": picture.width}
    resource = Release.R5.make(
        "DocumentReference",
        meta=context.meta(),
        identifier=[dicom_identifier(picture.sop_instance_uid)],
        status="current",
        docStatus="preliminary",
        modality=[MODALITY],
        type={"text": context.label("key_picture")},
        subject=context.subject,
        date=context.recorded,
        author=[context.device()],
        description=f"{context.label('picture_text')}. {context.note()['text']}",
        content=[{"attachment": content}],
    )
    return Entry(context.full_url("DocumentReference"), resource)


def _content(context: ReportContext, picture: Picture) -> dict[str, object]:
    return attachment(picture.data, picture.content_type, context.label("key_picture"), context.language)
