"""The Store Instances Response Module (PS3.18 annex I.2) as JSON (annex F) or XML (PS3.19 annex A)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID

from dicom_node.network.multipart import media_type
from dicom_node.receive.refusals import COMMENT_MOST

if TYPE_CHECKING:
    from dicom_node.receive.stow.request import FailedPart, StoredSop

DICOM_JSON = "application/dicom+json"
DICOM_XML = "application/dicom+xml"


def wanted_type(accept: str) -> str | None:
    """The media type of the response; None where the client accepts none of ours. Quality values are ignored."""
    kinds = [media_type(item.strip())[0] for item in accept.split(",") if item.strip()] or ["*/*"]
    for kind in kinds:
        if kind in (DICOM_JSON, "application/json", "*/*", "application/*"):
            return DICOM_JSON
        if kind in (DICOM_XML, "text/xml", "application/xml"):
            return DICOM_XML
    return None


def answer_body(stored: Sequence[StoredSop], failures: Sequence[FailedPart], kind: str) -> bytes:
    """The response in media type ``kind``. Empty sequences are left out."""
    response = store_response(stored, failures)
    if kind == DICOM_XML:
        xml: bytes = ET.tostring(_native(response, "NativeDicomModel"), encoding="utf-8", xml_declaration=True)
        return xml
    return json.dumps(response.to_json_dict()).encode()


def store_response(stored: Sequence[StoredSop], failures: Sequence[FailedPart]) -> Dataset:
    """The module. RetrieveURL is empty, since the node does not serve images."""
    response = Dataset()
    response.RetrieveURL = ""
    if stored:
        response.ReferencedSOPSequence = [_reference(sop) for sop in stored]
        for item in response.ReferencedSOPSequence:
            item.RetrieveURL = ""
    named = [failure for failure in failures if failure.sop is not None]
    if named:
        response.FailedSOPSequence = [_reference(failure.sop) for failure in named if failure.sop]
        for item, failure in zip(response.FailedSOPSequence, named, strict=True):
            _explain(item, failure)
    nameless = [failure for failure in failures if failure.sop is None]
    if nameless:
        response.OtherFailuresSequence = [_reason(failure) for failure in nameless]
    return response


def _reference(sop: StoredSop) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = UID(sop.sop_class_uid)
    item.ReferencedSOPInstanceUID = UID(sop.sop_instance_uid)
    return item


def _reason(failure: FailedPart) -> Dataset:
    item = Dataset()
    _explain(item, failure)
    return item


def _explain(item: Dataset, failure: FailedPart) -> None:
    """Failure Reason and, as in C-STORE, Error Comment (0000,0902): PS3.18 allows further attributes."""
    item.FailureReason = failure.reason
    item.ErrorComment = failure.comment[:COMMENT_MOST]


def _native(ds: Dataset, name: str) -> ET.Element:
    """``ds`` in the Native DICOM Model, as far as the attributes of this module need it."""
    root = ET.Element(name)
    for element in ds:
        root.append(_attribute(element))
    return root


def _attribute(element: DataElement) -> ET.Element:
    attribute = ET.Element(
        "DicomAttribute", {"tag": f"{int(element.tag):08X}", "vr": element.VR, "keyword": element.keyword}
    )
    values = element.value if element.VR == "SQ" else [element.value] if element.value not in ("", None) else []
    for number, value in enumerate(values, start=1):
        if element.VR == "SQ":
            child = _native(value, "Item")
            child.set("number", str(number))
        else:
            child = ET.Element("Value", number=str(number))
            child.text = str(value)
        attribute.append(child)
    return attribute
