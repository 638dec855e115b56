"""A reader's assessment of an answer as a document of its own: Comprehensive SR (PS3.3 A.35.3), TID 1500 (PS3.16).

It refers to the results that were assessed and changes none of them. The verdict is inferred from the AI's report
(COMPOSITE), where the run has one; all results of the run are its evidence. A correction names the reader's document
before it as its predecessor. Nobody has signed it: a login is no signature, and the document is unverified.
"""

from __future__ import annotations

from collections.abc import Iterator

import highdicom as hd
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ComprehensiveSRStorage, ExplicitVRLittleEndian

from pipeline.findings import codes
from pipeline.findings.codes import Code
from pipeline.findings.identity import derived_uid
from pipeline.findings.own_results import CREATOR_UID, MANUFACTURER
from pipeline.patient.attributes import PATIENT_AND_STUDY, carry_patient_and_study
from pipeline.report import assessment
from pipeline.report.assessment import StatedAssessment
from pipeline.report.content import ReportContent
from pipeline.report.patient_study import utc_offset
from pipeline.results.provenance import SERIES_NUMBERS
from pipeline.results.seg.segmentation import coded
from pipeline.results.wording import ascii_text, text_in

KIND = "assessment"
CONTAINS = hd.sr.RelationshipTypeValues.CONTAINS
HAS_CONCEPT_MOD = hd.sr.RelationshipTypeValues.HAS_CONCEPT_MOD
INFERRED_FROM = hd.sr.RelationshipTypeValues.INFERRED_FROM


def build(content: ReportContent, header: Dataset, said: StatedAssessment) -> Dataset:
    """The document of ``said``. ``header`` is that of a result of the run: it names patient and study.

    Letters that the header's character set lacks are written plainly, or left out.
    """
    root = hd.sr.ContainerContentItem(
        name=coded(codes.MEASUREMENT_REPORT), is_content_continuous=False, template_id="1500"
    )
    root.ContentSequence = hd.sr.ContentSequence(
        [*_context(content, header, said), _evaluations(content, header, said)]
    )
    at = said.at.astimezone(utc_offset(header) or said.at.tzinfo)
    made = hd.sr.ComprehensiveSR(
        evidence=[_stand_in(content, index) for index in range(len(content.objects))],
        content=root,
        series_instance_uid=content.run.lineage_uid("series", KIND),
        series_number=SERIES_NUMBERS[KIND],
        sop_instance_uid=said.uid(content),
        instance_number=said.number,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        coding_schemes=[
            CodingSchemeIdentificationItem(
                designator=codes.PRIVATE_SCHEME, name=codes.PRIVATE_SCHEME_NAME, responsible_organization=MANUFACTURER
            )
        ],
    )
    ds = Dataset()
    # Contributing Equipment would hold the library, with the time of its clock.
    left_out = (*PATIENT_AND_STUDY, "ContributingEquipmentSequence")
    ds.update({element.tag: element for element in made if element.keyword not in left_out})
    ds.InstanceCreatorUID = CREATOR_UID
    ds.ContentDate = ds.InstanceCreationDate = at.strftime("%Y%m%d")
    ds.ContentTime = ds.InstanceCreationTime = at.strftime("%H%M%S")
    ds.SeriesDescription = "Reader's assessment of an AI result"
    ds.ManufacturerModelName = "Candela"
    if said.corrects is not None:
        ds.PredecessorDocumentsSequence = [_document(content, said.corrects.uid(content))]
    carry_patient_and_study(ds, header)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.ImplementationClassUID = UID(derived_uid("implementation"))
    ds.file_meta.ImplementationVersionName = "CANDELA"
    return ds


def _context(content: ReportContent, header: Dataset, said: StatedAssessment) -> Iterator[hd.sr.ContentItem]:
    """Language (TID 1204), the reader as a person (TID 1003), the procedure."""
    yield from hd.sr.LanguageOfContentItemAndDescendants(
        hd.sr.CodedConcept("en-US", "RFC5646", "English (United States)")
    )
    name = text_in(said.reader.replace("^", " ").replace("=", " "), header.get("SpecificCharacterSet"))
    person = hd.sr.PersonObserverIdentifyingAttributes(name=f"{name}^")
    yield from hd.sr.ObservationContext(
        observer_person_context=hd.sr.ObserverContext(
            observer_type=coded(codes.PERSON), observer_identifying_attributes=person
        )
    )
    yield hd.sr.CodeContentItem(
        name=coded(codes.PROCEDURE_REPORTED), value=coded(content.procedure), relationship_type=HAS_CONCEPT_MOD
    )


def _evaluations(content: ReportContent, header: Dataset, said: StatedAssessment) -> hd.sr.ContainerContentItem:
    """TID 1500, Qualitative Evaluations: the verdict and what the reader says besides."""
    verdict = _code(assessment.ASSESSMENT, assessment.VERDICTS[said.verdict])
    if report := next((item for item in content.objects if item.role == "report"), None):
        verdict.ContentSequence = hd.sr.ContentSequence(
            [
                hd.sr.CompositeContentItem(
                    name=coded(codes.SOURCE),
                    referenced_sop_class_uid=report.sop_class_uid,
                    referenced_sop_instance_uid=report.sop_instance_uid,
                    relationship_type=INFERRED_FROM,
                )
            ]
        )
    made: list[hd.sr.ContentItem] = [verdict]
    if (found := said.class_code(content)) is not None:
        made.append(_code(assessment.CORRECT_CLASS, found))
    if (presence := said.presence) is not None:
        item = _code(codes.PRESENCE, presence)
        target = content.findings.model.target
        if target is not None:
            of_what = hd.sr.CodeContentItem(
                name=coded(codes.FINDING), value=coded(target), relationship_type=HAS_CONCEPT_MOD
            )
            item.ContentSequence = hd.sr.ContentSequence([of_what])
        made.append(item)
    if said.outline in assessment.OUTLINES:
        made.append(_code(assessment.OUTLINE_QUALITY, assessment.OUTLINES[said.outline]))
    model = content.findings.model
    texts = (f"Assessed: {ascii_text(model.title)} {ascii_text(model.version)}.", said.comment)
    made += [
        hd.sr.TextContentItem(
            name=coded(codes.COMMENT),
            value=text_in(text, header.get("SpecificCharacterSet")),
            relationship_type=CONTAINS,
        )
        for text in texts
        if text
    ]
    container = hd.sr.ContainerContentItem(
        name=coded(codes.QUALITATIVE_EVALUATIONS), is_content_continuous=False, relationship_type=CONTAINS
    )
    container.ContentSequence = hd.sr.ContentSequence(made)
    return container


def _code(name: Code, value: Code) -> hd.sr.CodeContentItem:
    return hd.sr.CodeContentItem(name=coded(name), value=coded(value), relationship_type=CONTAINS)


def _stand_in(content: ReportContent, index: int) -> Dataset:
    """A header of one result with its UIDs, for highdicom; it brings no text of the source along."""
    item = content.objects[index]
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
        setattr(ds, keyword, None)
    ds.StudyDate = ds.StudyTime = ds.ReferringPhysicianName = None
    ds.Modality = item.modality
    ds.SOPClassUID, ds.SOPInstanceUID = item.sop_class_uid, item.sop_instance_uid
    ds.StudyInstanceUID, ds.SeriesInstanceUID = content.study.uid, item.series_instance_uid
    return ds


def _document(content: ReportContent, sop_instance_uid: str) -> Dataset:
    """A reference to an earlier document (Hierarchical SOP Instance Reference Macro, PS3.3 C.17.2.1)."""
    document, series, study = Dataset(), Dataset(), Dataset()
    document.ReferencedSOPClassUID = ComprehensiveSRStorage
    document.ReferencedSOPInstanceUID = sop_instance_uid
    series.SeriesInstanceUID = content.run.lineage_uid("series", KIND)
    series.ReferencedSOPSequence = [document]
    study.StudyInstanceUID = content.study.uid
    study.ReferencedSeriesSequence = [series]
    return study
