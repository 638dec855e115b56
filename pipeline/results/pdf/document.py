"""Encapsulated PDF: the report as one page that a referring physician can read and print."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from pipeline.findings import codes
from pipeline.report.sentences import Language
from pipeline.results.pdf.page import build_page
from pipeline.results.provenance import ResultContext, code_item, finish
from pipeline.results.result_object import ResultObject
from pipeline.results.source_images import instance_reference
from pipeline.results.wording import DISCLAIMER

KIND = "document"


def pdf_page(context: ResultContext, language: Language = Language.ENGLISH) -> bytes:
    """The report of one run as a PDF file of one page. The same context and language give the same bytes."""
    return build_page(context, language)


def pdf_of(objects: Iterable[ResultObject]) -> bytes | None:
    """The PDF file in a run's Encapsulated PDF object, without its padding; None without such an object."""
    ds = next((item.dataset for item in objects if item.role == KIND), None)
    return None if ds is None else bytes(ds.EncapsulatedDocument[: ds.EncapsulatedDocumentLength])


def build(context: ResultContext) -> tuple[ResultObject, ...]:
    """One Encapsulated PDF object (PS3.3 A.45.1), whatever the outcome.

    Burned In Annotation is YES: the page names the patient. The source images are those that it was derived from.
    """
    pdf = pdf_page(context, context.profile.language)
    ds = Dataset()
    ds.SOPClassUID = EncapsulatedPDFStorage
    ds.Modality = "DOC"
    ds.ConversionType = "WSD"
    ds.AcquisitionDateTime = None
    ds.BurnedInAnnotation = "YES"
    ds.RecognizableVisualFeatures = "NO"
    ds.SourceInstanceSequence = [_source_item(source) for source in context.sources]
    ds.DocumentTitle = DISCLAIMER
    ds.VerificationFlag = "UNVERIFIED"
    ds.ConceptNameCodeSequence = [code_item(codes.MEASUREMENT_REPORT)]
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    ds.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    ds["EncapsulatedDocument"].VR = "OB"
    ds.EncapsulatedDocumentLength = len(pdf)
    return (
        ResultObject(
            role=KIND,
            filename="document.dcm",
            dataset=finish(ds, context, kind=KIND, number=1, description="PDF report"),
        ),
    )


def _source_item(source: Dataset) -> Dataset:
    item = instance_reference(source)
    item.PurposeOfReferenceCodeSequence = [code_item(codes.SOURCE_IMAGE)]
    return item
