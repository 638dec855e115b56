"""Frames of multi-frame objects as classic headers (PS3.3 C.7.6.16, C.8.13, C.8.15).

An enhanced object says once what its frames share and per frame what is the frame's own, both in functional groups:
sequences of one item, some of whose attributes have other names than in classic objects. Here they are laid over the
instance's header, the frame's own last, and renamed, so that everything behind reads one kind of header.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import DSfloat

from pipeline.errors import BadGeometry, InvalidHeader
from pipeline.reading.validation import ONE_NUMBER, element_of

SHARED, PER_FRAME = Tag(0x5200, 0x9229), Tag(0x5200, 0x9230)
"""SharedFunctionalGroupsSequence and PerFrameFunctionalGroupsSequence."""
NUMBER_OF_FRAMES = Tag(0x0028, 0x0008)

UNFOLDED = (
    "PixelMeasuresSequence",
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "FrameContentSequence",
    "FrameAnatomySequence",
    "PixelValueTransformationSequence",
    "FrameVOILUTSequence",
    "TemporalPositionSequence",
    "CardiacSynchronizationSequence",
    "RespiratorySynchronizationSequence",
    "ContrastBolusUsageSequence",
    "MRImageFrameTypeSequence",
    "MRTimingAndRelatedParametersSequence",
    "MRFOVGeometrySequence",
    "MREchoSequence",
    "MRModifierSequence",
    "MRImagingModifierSequence",
    "MRReceiveCoilSequence",
    "MRTransmitCoilSequence",
    "MRDiffusionSequence",
    "MRAveragesSequence",
    "MRVelocityEncodingSequence",
    "CTImageFrameTypeSequence",
    "CTAcquisitionTypeSequence",
    "CTAcquisitionDetailsSequence",
    "CTTableDynamicsSequence",
    "CTPositionSequence",
    "CTGeometrySequence",
    "CTReconstructionSequence",
    "CTExposureSequence",
    "CTXRayDetailsSequence",
    "UnassignedSharedConvertedAttributesSequence",
    "UnassignedPerFrameConvertedAttributesSequence",
)
"""Functional groups whose item holds the frame's attributes; every other one (references, derivation, real-world
values, private) is itself an attribute of classic objects, or of no concern here, and is kept as the sequence it is."""

RENAMED = {
    "FrameType": "ImageType",
    "EffectiveEchoTime": "EchoTime",
    "InversionTimes": "InversionTime",
    "FrameAcquisitionNumber": "AcquisitionNumber",
    "FrameAcquisitionDateTime": "AcquisitionDateTime",
    "TemporalPositionIndex": "TemporalPositionIdentifier",
    "NominalCardiacTriggerDelayTime": "TriggerTime",
    "TransmitterFrequency": "ImagingFrequency",
    "PulseSequenceName": "SequenceName",
    "ExposureTimeInms": "ExposureTime",
    "XRayTubeCurrentInmA": "XRayTubeCurrent",
    "ExposureInmAs": "Exposure",
}
"""Attributes of enhanced objects → their names in classic ones. The result has both."""

BODY_PARTS = {
    "12738006": "BRAIN",
    "T-A0100": "BRAIN",
    "69536005": "HEAD",
    "T-D1100": "HEAD",
    "774007": "HEADNECK",
    "T-D1000": "HEADNECK",
    "45048000": "NECK",
    "T-D1600": "NECK",
    "51185008": "CHEST",
    "816094009": "CHEST",
    "T-D3000": "CHEST",
    "113345001": "ABDOMEN",
    "818981001": "ABDOMEN",
    "T-D4000": "ABDOMEN",
    "12921003": "PELVIS",
    "816092008": "PELVIS",
    "T-D6000": "PELVIS",
    "421060004": "SPINE",
    "122494005": "CSPINE",
    "T-11501": "CSPINE",
    "122495006": "TSPINE",
    "T-11502": "TSPINE",
    "122496007": "LSPINE",
    "T-11503": "LSPINE",
    "72696002": "KNEE",
    "T-D9200": "KNEE",
    "29836001": "HIP",
    "T-D2500": "HIP",
    "16982005": "SHOULDER",
    "T-D2220": "SHOULDER",
    "80891009": "HEART",
    "T-32000": "HEART",
    "76752008": "BREAST",
    "T-04000": "BREAST",
    "41216001": "PROSTATE",
    "T-92000": "PROSTATE",
    "10200004": "LIVER",
    "T-62000": "LIVER",
    "64033007": "KIDNEY",
    "T-71000": "KIDNEY",
}
"""AnatomicRegionSequence code (SNOMED CT and its older SNOMED-RT form) → BodyPartExamined (PS3.16 Annex L)."""


def number_of_frames(instance: Dataset) -> int:
    """How many frames the enhanced ``instance`` has.

    Raises
    ------
    BadGeometry
        where NumberOfFrames is missing or differs from the number of per-frame functional groups.
    """
    claimed = int(instance.get("NumberOfFrames") or 0)
    described = instance[PER_FRAME].value if PER_FRAME in instance else None
    count = len(described) if isinstance(described, DicomSequence) else 0
    if claimed < 1 or claimed != count:
        raise BadGeometry(
            f"The instance claims {claimed} frames and describes {count} in its per-frame functional groups.",
            where=f"instance {instance.SOPInstanceUID}",
            todo="Send or export it again.",
        )
    return claimed


def classic_header(instance: Dataset, frame: int) -> tuple[Dataset, tuple[str, ...]]:
    """Header of frame ``frame`` (from 1) of the enhanced ``instance`` in the form of a classic object.

    No pixel data, no functional groups and no NumberOfFrames; elements are shared with ``instance``, not copied. Also
    returns the keywords of the unreadable values in functional groups, which were left out.

    Raises
    ------
    InvalidHeader
        where a functional group is not a sequence.
    """
    base = without_pixels(instance)
    for tag in (SHARED, PER_FRAME, NUMBER_OF_FRAMES):
        base.pop(tag, None)
    item = instance[PER_FRAME].value[frame - 1]
    shared = instance[SHARED].value if SHARED in instance else ()
    unread: list[str] = []
    for group_item in (*shared[:1], item):
        for group in _elements(group_item, unread):
            if group.keyword in UNFOLDED:
                _unfold(group, base, instance, unread)
            else:
                base[group.tag] = group
    _rename(base)
    _add_classic_mr(base)
    _add_contrast(base)
    _add_body_part(base)
    _add_acquisition_time(base)
    return base, tuple(unread)


def _elements(item: Dataset, unread: list[str]) -> Iterator[DataElement]:
    """The elements of ``item``; keywords of unreadable ones are added to ``unread``."""
    for tag in sorted(item.keys()):
        element = element_of(item, tag)
        if element is None:
            unread.append(keyword_for_tag(tag) or "private attributes")
        else:
            yield element


def without_pixels(ds: Dataset) -> Dataset:
    """A data set with the elements of ``ds`` except the pixels. Elements are shared; adding or removing some leaves
    ``ds`` as is.
    """
    elements: dict[BaseTag, DataElement | RawDataElement] = {
        tag: element for tag, element in ds.items() if tag.group != 0x7FE0
    }
    header = Dataset(elements)
    implicit, little = ds.original_encoding
    header.set_original_encoding(implicit, little, ds.original_character_set)
    header.file_meta = ds.file_meta
    return header


def _unfold(group: Any, header: Dataset, instance: Dataset, unread: list[str]) -> None:
    if not isinstance(group.value, DicomSequence):
        raise InvalidHeader(
            f"{group.keyword} is not a sequence: the header is damaged.",
            where=f"instance {instance.SOPInstanceUID}",
            todo="Send or export it again.",
        )
    for item in group.value[:1]:  # PS3.3 C.7.6.16.2: a functional group has one item
        for element in _elements(item, unread):
            header[element.tag] = element


def _rename(header: Dataset) -> None:
    for enhanced, classic in RENAMED.items():
        value = header.get(enhanced)
        if value is not None and value != "" and not (classic in ONE_NUMBER and isinstance(value, list | MultiValue)):
            _set(header, classic, value)


def _set(header: Dataset, keyword: str, value: Any) -> None:
    """Put ``value`` into ``header`` as a new element, since setting the shared element's value would change the
    instance too.
    """
    vr = dictionary_VR(keyword)
    if vr == "DS" and isinstance(value, float):
        value = DSfloat(value, auto_format=True)
    elif vr == "IS" and isinstance(value, float):
        value = round(value)
    header.add_new(keyword, vr, value)


def _add_classic_mr(header: Dataset) -> None:
    """Add the classic MR attributes ScanningSequence, AngioFlag and ImageType (PS3.3 C.8.3.1, C.8.13.4, C.8.13.3)."""
    pulse = str(header.get("EchoPulseSequence") or "")
    if pulse and not header.get("ScanningSequence"):
        _set(header, "ScanningSequence", list(_scanning_sequence(header, pulse)))
    contrast = str(header.get("AcquisitionContrast") or "")
    if header.get("TimeOfFlightContrast") == "YES" or contrast in {"TOF", "FLOW_ENCODED"}:
        _set(header, "AngioFlag", "Y")
    component = str(header.get("ComplexImageComponent") or "")
    kinds = header.get("ImageType")
    if component in {"PHASE", "REAL", "IMAGINARY"} and isinstance(kinds, list | tuple | MultiValue):
        _set(header, "ImageType", [*kinds, component])  # classic scanners name it among the image types


def _scanning_sequence(header: Dataset, pulse: str) -> Iterator[str]:
    if pulse in {"SPIN", "BOTH"}:
        yield "SE"
    if pulse in {"GRADIENT", "BOTH"}:
        yield "GR"
    if header.get("InversionRecovery") == "YES":
        yield "IR"
    if header.get("EchoPlanarPulseSequence") == "YES":
        yield "EP"


def _add_contrast(header: Dataset) -> None:
    """Add ContrastBolusAgent, unless the frame states that no agent was given (PS3.3 C.7.6.4b, C.7.6.16.2.12)."""
    agents = header.get("ContrastBolusAgentSequence")
    if not agents or header.get("ContrastBolusAgent") or header.get("ContrastBolusAgentAdministered") == "NO":
        return
    _set(header, "ContrastBolusAgent", str(agents[0].get("CodeMeaning") or "UNSPECIFIED"))


def _add_body_part(header: Dataset) -> None:
    regions = header.get("AnatomicRegionSequence")
    if regions and not header.get("BodyPartExamined"):
        part = BODY_PARTS.get(str(regions[0].get("CodeValue") or ""))
        if part is not None:
            _set(header, "BodyPartExamined", part)


def _add_acquisition_time(header: Dataset) -> None:
    """Add AcquisitionDate and AcquisitionTime from the frame's AcquisitionDateTime (YYYYMMDDHHMMSS.FFFFFF&ZZXX)."""
    stamp = str(header.get("AcquisitionDateTime") or "").split("+")[0].split("-")[0]
    if len(stamp) >= 14 and stamp[:14].isdigit():
        _set(header, "AcquisitionDate", stamp[:8])
        _set(header, "AcquisitionTime", stamp[8:])
