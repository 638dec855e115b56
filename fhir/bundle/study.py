"""The study with its source and result series, and the algorithm as a device."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from fhir.bundle.coding import URI, concept, dicom_identifier
from fhir.bundle.context import STUDY_TAG, ReportContext, accession_identifier, order_reference
from fhir.release import Json, Release
from pipeline.findings import codes
from pipeline.report.content import ObjectReference
from pipeline.report.patient_study import SourceSeries


def imaging_study(context: ReportContext) -> Json:
    """The study, as far as this run knows it: the series that were read, and the result series."""
    content = context.content
    accession, order = accession_identifier(content), order_reference(content)
    results = sorted(content.objects, key=lambda item: item.series_instance_uid)
    sources = (content.source, *content.companions)
    series = [_source(item, context) for item in sources]
    series += [_result(list(group), context) for _, group in groupby(results, lambda item: item.series_instance_uid)]
    modalities = dict.fromkeys((*(item.modality for item in sources), *(item.modality for item in results)))
    return context.release.make(
        "ImagingStudy",
        meta={"tag": [{"system": STUDY_TAG, "code": f"urn:oid:{content.study.uid}"}]},
        identifier=[dicom_identifier(content.study.uid), accession],
        status="available",
        modality=[_modality(name, context) for name in modalities],
        subject=context.subject,
        started=content.study.started,
        basedOn=[order],
        series=series,
    )


def _source(source: SourceSeries, context: ReportContext) -> Json:
    """The source's instances are counted, not listed: the PACS lists them, and there may be hundreds."""
    return {
        "uid": source.uid,
        "number": source.number,
        "modality": _modality(source.modality, context),
        "description": source.description,
        "numberOfInstances": source.instances,
    }


def _result(made: list[ObjectReference], context: ReportContext) -> Json:
    first = made[0]
    return {
        "uid": first.series_instance_uid,
        "number": first.series_number,
        "modality": _modality(first.modality, context),
        "description": first.series_description,
        "numberOfInstances": len(made),
        "instance": [{"uid": item.sop_instance_uid, "sopClass": sop_class(item)} for item in made],
    }


def sop_class(item: ObjectReference) -> Json:
    """The Coding of an object's SOP class."""
    return {"system": URI, "code": f"urn:oid:{item.sop_class_uid}"}


def _modality(name: str, context: ReportContext) -> Json:
    """A Coding in R4, a CodeableConcept in R5."""
    code = {"system": codes.SYSTEMS["DCM"], "code": name or "OT"}
    return code if context.release is Release.R4 else {"coding": [code]}


def device(context: ReportContext) -> Json:
    """The algorithm. Its UID, the one in the results' Contributing Equipment, changes when the model changes."""
    model = context.findings.model
    kind = concept(codes.ARTIFICIAL_INTELLIGENCE, context.label("device"))
    shared: dict[str, Any] = {
        "meta": {"security": context.meta()["security"]},  # the device of every report of this model, not this one's
        "identifier": [dicom_identifier(context.content.run.device_uid)],
        "status": "active",
        "manufacturer": model.manufacturer,
        "version": [
            {"type": concept(codes.ALGORITHM_VERSION), "value": model.version},
            {"type": {"text": context.label("model_digest")}, "value": model.digest},
        ],
        "note": [context.note()],
    }
    parameters = [(concept(codes.ALGORITHM_PARAMETERS), text) for text in model.parameters]
    if context.release is Release.R4:
        return Release.R4.make(
            "Device",
            **shared,
            deviceName=[
                {"name": model.title, "type": "user-friendly-name"},
                {"name": model.name, "type": "model-name"},
            ],
            type=kind,
            property=[{"type": name, "valueCode": [{"text": text}]} for name, text in parameters],
        )
    return Release.R5.make(
        "Device",
        **shared,
        name=[
            {"value": model.title, "type": "user-friendly-name", "display": True},
            {"value": model.name, "type": "registered-name"},
        ],
        modelNumber=model.name,
        type=[kind],
        property=[{"type": name, "valueString": text} for name, text in parameters],
    )
