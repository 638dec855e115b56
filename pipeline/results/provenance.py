"""The attributes of a result object that state its origin; `pipeline.findings.own_results` recognises it by them.

Every byte of a result is a function of the source series, the model and the instant at which the analysis began, and
so are its UIDs: one SOP Instance UID never names two contents (ADR 70). Nothing here reads a clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.uid import UID, ExplicitVRLittleEndian

from pipeline.findings import codes
from pipeline.findings.codes import Code
from pipeline.findings.identity import RunIdentity, derived_uid
from pipeline.findings.model import Findings, Outcome
from pipeline.findings.own_results import COMPUTED, CREATOR_UID, FOR_REVIEW, MANUFACTURER
from pipeline.geometry.volume import Volume
from pipeline.patient.attributes import PATIENT_AND_STUDY, carry_patient_and_study
from pipeline.reading.attributes import texts
from pipeline.reading.validation import is_uid
from pipeline.report.findings import ReportedFindings
from pipeline.report.patient_study import (
    Patient,
    SourceSeries,
    Study,
    patient_of,
    procedure_of,
    series_of,
    study_of,
    utc_offset,
)
from pipeline.results.profile import DEFAULT_PRESET, PRESETS, Profile
from pipeline.results.source_images import instances, name_frames, stand_in_identity
from pipeline.results.wording import DISCLAIMER, ascii_text

SERIES_NUMBERS = {
    "overlay": 9101,
    "segmentation": 9102,
    "report": 9103,
    "presentation": 9104,
    "heatmap": 9105,
    "keyobjects": 9106,
    "document": 9109,
    "refusal": 9110,
    "assessment": 9112,  # 9111: pipeline.results.ko.rejection
}
"""High, so that results follow the acquired series, and stable, so that a hanging protocol can refer to them."""

LINKED = frozenset({"document", "keyobjects"})
"""Kinds whose content depends on the URL where readers assess the answer: the PDF prints it, key objects refer to the
PDF."""

REVISION = 1000
"""Instance numbers of results of a later revision of the source start here, in the same series."""

LIBRARY_UIDS = ("1.2.826.0.1.3680043.10.511.3.", "1.2.826.0.1.3680043.8.498.")
"""Roots under which highdicom and pydicom generate random UIDs."""

PAIRED = frozenset(
    {
        *("ANKLE", "ARM", "AXILLA", "BREAST", "CALF", "CAROTID", "CLAVICLE", "EAR", "ELBOW", "EXTREMITY", "EYE"),
        *("FEMUR", "FINGER", "FOOT", "FOREARM", "HAND", "HIP", "HUMERUS", "KIDNEY", "KNEE", "LEG", "LUNG", "OVARY"),
        *("SCAPULA", "SHOULDER", "TESTIS", "THIGH", "THUMB", "TIBIA", "TOE", "ULNA", "WRIST"),
    }
)
"""Values of Body Part Examined (PS3.16 Annex L) of which a body has two."""

NO_DATE = ("19000101", "000000")
"""Used where the source has no date and time and the standard requires them (type 1)."""


@dataclass(frozen=True)
class ResultContext:
    """The input of every result of one run, and the profile of the destination.

    ``companions``: the other series or radiographs that were read as channels, each on its own grid. Results refer to
    the images of ``volume``, and name these as evidence. ``assess_at``: the URL where readers assess the answer, which
    the PDF report prints; empty for none.
    """

    volume: Volume
    findings: Findings
    run: RunIdentity
    profile: Profile = PRESETS[DEFAULT_PRESET]
    companions: tuple[Volume, ...] = ()
    assess_at: str = ""

    def series_uid(self, kind: str) -> str:
        """Series Instance UID of the results of ``kind``: the same for every revision of the source."""
        return self.run.lineage_uid("series", kind, *self.profile.form(kind))

    def instance_uid(self, kind: str, number: int = 1) -> str:
        """SOP Instance UID of instance ``number`` (from 1) of the series of ``kind``, in the profile's form of it."""
        linked = (f"assessed at {self.assess_at}",) if self.assess_at and kind in LINKED else ()
        return self.run.uid("instance", kind, f"{number}", *self.profile.form(kind), *linked)

    @cached_property
    def began(self) -> datetime | None:
        """When the analysis began, on the clock of the source's dates and times: in the zone of Timezone Offset From
        UTC where the header states one, since it holds for every date and time of the result; None for a run that does
        not know.
        """
        return self._on_source_clock(self.run.began)

    @cached_property
    def instant(self) -> tuple[str, str]:
        """Date and time (DA, TM) at which the analysis began; for a run that does not know, the latest in the source's
        headers, `NO_DATE` where they have none.
        """
        if self.began is not None:
            return _da_tm(self.began)
        return max((one for volume in (self.volume, *self.companions) for one in _instants(volume)), default=NO_DATE)

    @cached_property
    def series_instant(self) -> tuple[str, str]:
        """Date and time (DA, TM) of the series of results, the same for every revision: when the first one began."""
        first = next((item.began for item in self.run.predecessors), None)
        began = self._on_source_clock(first)
        return self.instant if began is None else _da_tm(began)

    def _on_source_clock(self, began: str | None) -> datetime | None:
        if began is None:
            return None
        moment = datetime.fromisoformat(began)
        zone = utc_offset(self.volume.identity)
        return moment if zone is None else moment.astimezone(zone)

    @cached_property
    def frame_of_reference_uid(self) -> str:
        """The source's frame of reference; without a valid one, a UID that links the results of this run only."""
        stated = str(self.volume.sources[0].get("FrameOfReferenceUID") or "")
        return stated if is_uid(stated) else self.run.uid("frame of reference")

    @cached_property
    def source_uids(self) -> frozenset[str]:
        """Every UID of the source."""
        uids = {self.volume.study_instance_uid, self.volume.series_instance_uid, self.frame_of_reference_uid}
        read = (self.volume, *self.companions)
        uids |= {volume.series_instance_uid for volume in read}
        return frozenset(uids | {str(ds.SOPInstanceUID) for volume in read for ds in volume.sources})

    @cached_property
    def references(self) -> tuple[Dataset, ...]:
        """Placeholder headers of the source planes, in their order, for highdicom.

        They hold identity and geometry and no text, so that no irregular value of a source header (a name of 70
        characters, an unknown sex) can stop a result: `finish` copies patient and study unchanged. The placeholder of a
        frame is a single-frame image; `finish` replaces references to it by the true ones.
        """
        return tuple(self._plane_stand_in(index) for index in range(len(self.volume.sources)))

    @cached_property
    def instances(self) -> tuple[Dataset, ...]:
        """Placeholder headers of the stored source instances, each once, for highdicom to list as evidence."""
        return tuple(self._stand_in(ds, ds.SOPClassUID, ds.SOPInstanceUID) for ds in self.sources)

    @cached_property
    def sources(self) -> tuple[Dataset, ...]:
        """The header of each stored source instance, once, of every series that was read."""
        return tuple(ds for volume in (self.volume, *self.companions) for ds in instances(volume))

    @cached_property
    def reported(self) -> ReportedFindings:
        """The findings as reports state them."""
        return ReportedFindings.of(self.findings)

    @cached_property
    def patient(self) -> Patient:
        return patient_of(deepcopy(self.volume.identity))  # pydicom decodes what is read, and results carry the bytes

    @cached_property
    def study(self) -> Study:
        return study_of(deepcopy(self.volume.identity))

    @property
    def procedure(self) -> Code:
        """The code of the procedure that the results are about."""
        return procedure_of(self.study, self.source.modality, self.findings.model, self.findings.outcome)

    @property
    def source(self) -> SourceSeries:
        return self.read_series[0]

    @property
    def companion_series(self) -> tuple[SourceSeries, ...]:
        return self.read_series[1:]

    @cached_property
    def read_series(self) -> tuple[SourceSeries, ...]:
        """Each series that was read, once: radiographs of several channels may lie in one."""
        headers: dict[str, list[Dataset]] = {}
        for volume in (self.volume, *self.companions):
            headers.setdefault(volume.series_instance_uid, []).extend(volume.sources)
        return tuple(series_of((deepcopy(first), *rest)) for first, *rest in headers.values())

    def _plane_stand_in(self, index: int) -> Dataset:
        source = self.volume.sources[index]
        ds = self._stand_in(source, *stand_in_identity(self.volume, self.run, index))
        ds.Rows, ds.Columns = self.volume.shape[1:]
        ds.SamplesPerPixel = 1
        if self.volume.projection:
            return ds
        slice_mm, row_mm, column_mm = self.volume.spacing
        ds.PixelSpacing = [decimal(row_mm), decimal(column_mm)]
        ds.SliceThickness = source.get("SliceThickness") or decimal(slice_mm)
        # Along the normal, which is not the way from origin to origin where the stack is sheared (PS3.3 C.7.6.16.2.1).
        ds.SpacingBetweenSlices = decimal(self.volume.voxel_mm3 / (row_mm * column_mm))
        # The first plane's for all: scanners write cosines that differ in the last digit, which highdicom refuses.
        ds.ImageOrientationPatient = self.volume.sources[0].ImageOrientationPatient
        ds.ImagePositionPatient = source.ImagePositionPatient
        return ds

    def _stand_in(self, source: Dataset, sop_class_uid: str, sop_instance_uid: str) -> Dataset:
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
            setattr(ds, keyword, None)
        ds.StudyDate = ds.StudyTime = ds.ReferringPhysicianName = None
        ds.Modality = "MR"
        ds.SOPClassUID, ds.SOPInstanceUID = sop_class_uid, sop_instance_uid
        ds.StudyInstanceUID, ds.SeriesInstanceUID = source.StudyInstanceUID, source.SeriesInstanceUID
        if not self.volume.projection:
            ds.FrameOfReferenceUID = self.frame_of_reference_uid
        return ds


def finish(made: Dataset, context: ResultContext, *, kind: str, number: int, description: str) -> Dataset:
    """``made`` as a complete result: with patient and study of the source, series, equipment, dates and times.

    The result takes over the elements of ``made``, which is not to be used afterwards.
    ``description`` goes between "AI" and "for review" in Series Description. Nothing that a library put in from a
    clock or a random generator is left, and frames are named truly.
    """
    ds = Dataset()
    ds.update({element.tag: element for element in made if element.keyword not in PATIENT_AND_STUDY})
    ds.InstanceCreatorUID = CREATOR_UID
    ds.SOPClassUID = made.SOPClassUID
    ds.SOPInstanceUID = context.instance_uid(kind, number)
    ds.SeriesInstanceUID = context.series_uid(kind)
    ds.SeriesNumber = SERIES_NUMBERS[kind]
    ds.InstanceNumber = len(context.run.predecessors) * REVISION + number
    ds.SeriesDescription = ascii_text(f"AI {description} {FOR_REVIEW}", 64)
    _set_instants(ds, context)
    _set_equipment(ds, context)
    name_frames(ds, context.volume, context.run)
    _settle_uids(ds, context, kind)
    correct_ambiguous_vr(ds, is_little_endian=True)
    carry_patient_and_study(ds, context.volume.identity)
    ds.file_meta = file_meta(ds)
    return ds


def file_meta(ds: Dataset) -> FileMetaDataset:
    """The file meta information of ``ds`` (PS3.10 7.1), in Explicit VR Little Endian."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(derived_uid("implementation"))
    meta.ImplementationVersionName = "CANDELA"
    return meta


def code_item(code: Code) -> Dataset:
    """``code`` as an item of a code sequence (PS3.3 8.8)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme, code.meaning
    return item


def body_part(context: ResultContext) -> str | None:
    """The source's Body Part Examined, else that of the model's bundle; None where neither states one.

    A refused series may show another part than the bundle reads: only its own header says which.
    """
    stated = next(iter(texts(context.volume.sources[0], "BodyPartExamined")), "")
    assumed = "" if context.findings.outcome is Outcome.REFUSED else context.findings.model.body_part
    return stated or assumed or None


def set_body_part(ds: Dataset, context: ResultContext) -> None:
    """Body Part Examined and, where the body part is paired or unknown, Laterality (PS3.3 C.7.3.1), empty where nobody
    knows it: for objects of the General Series module that state no laterality of their own.
    """
    ds.BodyPartExamined = body_part(context)
    if not ds.BodyPartExamined or ds.BodyPartExamined in PAIRED:
        source = context.volume.sources[0]
        stated = (str(source.get(keyword) or "") for keyword in ("ImageLaterality", "Laterality"))
        ds.Laterality = next((side for side in stated if side in ("L", "R")), None)


def set_lossy_compression(ds: Dataset, context: ResultContext) -> None:
    """Set Lossy Image Compression of a picture from that of its source images (PS3.3 C.7.6.1.1.5)."""
    lossy = next((source for source in context.volume.sources if source.get("LossyImageCompression") == "01"), None)
    ds.LossyImageCompression = "00" if lossy is None else "01"
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if lossy is not None and lossy.get(keyword):
            setattr(ds, keyword, lossy[keyword].value)


def decimal(value: float) -> float:
    """``value`` rounded so that it fits a Decimal String (16 characters, PS3.5 6.2)."""
    return float(f"{value:.9g}")


def _da_tm(moment: datetime) -> tuple[str, str]:
    return moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")


def _instants(volume: Volume) -> Iterator[tuple[str, str]]:
    for ds in volume.sources:
        for what in ("Study", "Series", "Acquisition", "Content"):
            date, time = str(ds.get(f"{what}Date") or ""), str(ds.get(f"{what}Time") or "")
            if re.fullmatch(r"\d{8}", date):
                valid = re.fullmatch(r"([01]\d|2[0-3])[0-5]\d[0-5]\d(\.\d{1,6})?", time)
                yield date, (time if valid else "000000")


def _set_instants(ds: Dataset, context: ResultContext) -> None:
    date, time = context.instant
    ds.SeriesDate, ds.SeriesTime = context.series_instant
    ds.InstanceCreationDate, ds.InstanceCreationTime = date, time
    if "PresentationCreationDate" in ds:  # has no content of its own (PS3.3 C.11.10)
        ds.PresentationCreationDate, ds.PresentationCreationTime = date, time
    else:
        ds.ContentDate, ds.ContentTime = date, time


def _set_equipment(ds: Dataset, context: ResultContext) -> None:
    """General Equipment (PS3.3 C.7.5.1), and Contributing Equipment (C.12.1), by which results are recognised."""
    model = context.findings.model
    item = Dataset()
    for target in (ds, item):
        target.Manufacturer = MANUFACTURER
        target.ManufacturerModelName = ascii_text(model.title, 64)
        target.SoftwareVersions = [ascii_text(model.version, 64), model.digest[:16]]
        target.DeviceSerialNumber = model.digest[:16]
    item.PurposeOfReferenceCodeSequence = [code_item(codes.PROCESSING_EQUIPMENT)]
    item.DeviceUID = context.run.device_uid
    if context.began is not None:
        item.ContributionDateTime = context.began.strftime("%Y%m%d%H%M%S%z")
    item.ContributionDescription = f"{COMPUTED} {DISCLAIMER}."
    ds.ContributingEquipmentSequence = [item]


def _settle_uids(ds: Dataset, context: ResultContext, kind: str) -> None:
    """Replace every random UID of a library by a derived one, in the order of appearance; equal ones stay equal."""
    settled: dict[str, str] = {}

    def settle(_dataset: Dataset, element: DataElement) -> None:
        if element.VR != "UI" or not element.value or element.VM != 1:
            return
        value = str(element.value)
        if value.startswith(LIBRARY_UIDS) and value not in context.source_uids:
            element.value = settled.setdefault(value, context.run.uid("generated", kind, f"{len(settled)}"))

    ds.walk(settle)
