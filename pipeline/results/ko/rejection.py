"""The rejection note by which a PACS learns that results are withdrawn (IHE RAD, Imaging Object Change Management).

Key Object Selection Document (PS3.3 A.35.4) whose title states the reason (PS3.16 CID 7010) and whose evidence lists
every withdrawn instance.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC

import highdicom as hd
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from pipeline.findings import codes
from pipeline.findings.identity import derived_uid, instances_digest
from pipeline.findings.own_results import CREATOR_UID, FOR_REVIEW, MANUFACTURER
from pipeline.patient.attributes import carry_patient_and_study
from pipeline.report.withdrawal import Withdrawal
from pipeline.results.provenance import file_meta
from pipeline.results.seg.segmentation import coded
from pipeline.results.wording import ascii_text

SERIES_NUMBER = 9111
"""Follows those of the results (`pipeline.results.provenance.SERIES_NUMBERS`)."""
KEPT = (
    "SoftwareVersions",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "ContributingEquipmentSequence",
    "ReferencedRequestSequence",
)
"""Attributes of the withdrawn results that the note repeats, or lacks as they do."""


def rejection_note(results: Sequence[Dataset], withdrawal: Withdrawal, root: str | None = None) -> Dataset:
    """The note about ``results``: the headers of the withdrawn instances, of one patient and study.

    The same withdrawal of the same instances gives the same bytes. Times are those of the withdrawal, in UTC.
    """
    first = results[0]
    uids = instances_digest(str(ds.SOPInstanceUID) for ds in results)
    about = ("withdrawal", withdrawal.job_id, withdrawal.reason.value, withdrawal.at.isoformat())
    withdrawn = [_stand_in(ds) for ds in results]
    device = derived_uid("device", withdrawal.job_id.rpartition(":")[2], root=root)
    content = hd.ko.KeyObjectSelection(
        document_title=coded(withdrawal.reason.document_title),
        referenced_objects=withdrawn,
        observer_device_context=_observer(first, device),
        description=ascii_text(withdrawal.why).strip() or None,
    )
    made = hd.ko.KeyObjectSelectionDocument(
        evidence=withdrawn,
        content=content,
        series_instance_uid=derived_uid(*about, "series", root=root),
        series_number=SERIES_NUMBER,
        sop_instance_uid=derived_uid(*about, uids, root=root),
        instance_number=1,
        manufacturer=MANUFACTURER,
    )
    ds = Dataset()
    ds.update({element.tag: element for element in made})
    ds.InstanceCreatorUID = CREATOR_UID
    ds.SeriesDescription = ascii_text(f"AI results withdrawn {FOR_REVIEW}", 64)
    at = withdrawal.at.astimezone(UTC)
    ds.ContentDate = ds.SeriesDate = ds.InstanceCreationDate = at.strftime("%Y%m%d")
    ds.ContentTime = ds.SeriesTime = ds.InstanceCreationTime = at.strftime("%H%M%S")
    for keyword in KEPT:
        if keyword in ds:
            del ds[keyword]  # highdicom's Contribution DateTime reads the clock
        if keyword in first:
            ds[keyword] = first[keyword]
    carry_patient_and_study(ds, first)
    ds.file_meta = file_meta(ds)
    return ds


def _observer(result: Dataset, uid: str) -> hd.sr.ObserverContext:
    """TID 1002: the node as a device."""
    return hd.sr.ObserverContext(
        observer_type=coded(codes.DEVICE),
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=uid,
            manufacturer_name=MANUFACTURER,
            model_name=ascii_text(str(result.get("ManufacturerModelName") or "")) or None,
        ),
    )


def _stand_in(result: Dataset) -> Dataset:
    """The identity of ``result`` without its texts, for highdicom: no irregular value of a header can stop a note."""
    ds = Dataset()
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
        setattr(ds, keyword, None)
    ds.StudyDate = ds.StudyTime = ds.ReferringPhysicianName = None
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(ds, keyword, result[keyword].value)
    ds.Modality = result.get("Modality") or "OT"
    if "Rows" in result:  # by which highdicom tells an image from another object
        ds.Rows, ds.Columns = result.Rows, result.Columns
    return ds
