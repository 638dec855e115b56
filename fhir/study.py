"""What there is: the study with its source and result series, the algorithm as a device, the key picture."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from pydicom.dataset import Dataset

from fhir.coding import URI, attachment, coding, concept, dicom_identifier, disclaimer, hl7_concept, made_by_ai, to
from fhir.context import STUDY, ReportContext, accession_identifier, first_time, order_reference, text
from fhir.picture import Picture
from fhir.resources.R4B.codeableconcept import CodeableConcept
from fhir.resources.R4B.coding import Coding
from fhir.resources.R4B.device import Device, DeviceDeviceName, DeviceProperty, DeviceVersion
from fhir.resources.R4B.imagingstudy import ImagingStudy, ImagingStudySeries, ImagingStudySeriesInstance
from fhir.resources.R4B.media import Media
from pipeline import codes
from pipeline.codes import Code


def imaging_study(context: ReportContext) -> ImagingStudy:
    """The study, as far as this run knows it: the series that was read, and the series that came of it."""
    header = context.header
    order = order_reference(header)
    accession = accession_identifier(header)
    results = sorted((item.dataset for item in context.objects), key=lambda ds: str(ds.SeriesInstanceUID))
    series = [_series([*context.volume.sources], list_instances=False)]
    series += [_series(list(group)) for _, group in groupby(results, lambda ds: str(ds.SeriesInstanceUID))]
    return ImagingStudy(
        identifier=[dicom_identifier(context.volume.study_instance_uid), *([accession] if accession else [])],
        status="available",
        modality=_modalities([context.volume.sources[0], *results]),
        subject=context.subject,
        started=first_time(header, STUDY),
        basedOn=[order] if order else None,
        series=series,
    )


def _modalities(datasets: Iterable[Dataset]) -> list[Coding]:
    return [_modality(name) for name in dict.fromkeys(str(ds.Modality) for ds in datasets)]


def _modality(name: str) -> Coding:
    return Coding(system=codes.SYSTEMS["DCM"], code=name)


def _series(datasets: list[Dataset], *, list_instances: bool = True) -> ImagingStudySeries:
    """One series. The source's instances are counted, not listed: the PACS lists them, and there may be hundreds.

    A multi-frame object counts once, however many of its frames are among ``datasets``.
    """
    first = datasets[0]
    number = first.get("SeriesNumber")
    return ImagingStudySeries(
        uid=str(first.SeriesInstanceUID),
        number=int(number) if number is not None and int(number) >= 0 else None,
        modality=_modality(str(first.Modality)),
        description=text(first, "SeriesDescription") or None,
        numberOfInstances=len({str(ds.SOPInstanceUID) for ds in datasets}),
        instance=[_instance(ds) for ds in datasets] if list_instances else None,
    )


def _instance(ds: Dataset) -> ImagingStudySeriesInstance:
    return ImagingStudySeriesInstance(
        uid=str(ds.SOPInstanceUID), sopClass=Coding(system=URI, code=f"urn:oid:{ds.SOPClassUID}")
    )


def device(context: ReportContext) -> Device:
    """The algorithm. Its UID, the one in the results' Contributing Equipment, changes when the model changes."""
    model = context.findings.model
    return Device(
        meta=made_by_ai(),
        identifier=[dicom_identifier(context.run.device_uid)],
        status="active",
        manufacturer=model.manufacturer,
        deviceName=[
            DeviceDeviceName(name=model.title, type="user-friendly-name"),
            DeviceDeviceName(name=model.name, type="model-name"),
        ],
        type=concept(codes.ARTIFICIAL_INTELLIGENCE, "Image analysis algorithm (artificial intelligence)"),
        version=[
            DeviceVersion(type=concept(codes.ALGORITHM_VERSION), value=model.version),
            DeviceVersion(type=CodeableConcept(text="SHA-256 of the model"), value=model.digest),
        ],
        property=[_property(codes.ALGORITHM_PARAMETERS, text) for text in model.parameters] or None,
        note=[disclaimer()],
    )


def _property(code: Code, text: str) -> DeviceProperty:
    return DeviceProperty(type=concept(code), valueCode=[CodeableConcept(text=text)])


def key_picture(context: ReportContext, picture: Picture) -> Media:
    """The overlay's first page as a picture that a browser shows; identified by the SOP instance that it is of."""
    return Media(
        meta=made_by_ai(),
        identifier=[dicom_identifier(picture.sop_instance_uid)],
        status="completed",
        type=hl7_concept("media-type", "image", "Image"),
        modality=CodeableConcept(coding=[_modality("OT")]),
        subject=context.subject,
        createdDateTime=context.recorded,
        bodySite=CodeableConcept(coding=[coding(context.findings.model.term(context.findings.predicted_class).site)]),
        device=to(context.device_url, "Device"),
        height=picture.height,
        width=picture.width,
        content=attachment(picture.data, picture.content_type, "AI overlay, key picture"),
        note=[disclaimer()],
    )
