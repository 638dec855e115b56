"""What the header of a projection radiograph (CR, DX, mammography) states about how it was taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydicom import uid
from pydicom.dataset import Dataset

from pipeline.reading.attributes import items, number, text, texts
from pipeline.reading.functional_groups import BODY_PARTS

PresentationIntent = Literal["FOR PRESENTATION", "FOR PROCESSING"]
"""Values of Presentation Intent Type (0008,0068)."""
INTENTS: dict[str, PresentationIntent] = {
    uid.DigitalXRayImageStorageForPresentation: "FOR PRESENTATION",
    uid.DigitalXRayImageStorageForProcessing: "FOR PROCESSING",
    uid.DigitalMammographyXRayImageStorageForPresentation: "FOR PRESENTATION",
    uid.DigitalMammographyXRayImageStorageForProcessing: "FOR PROCESSING",
}
"""By SOP Class, which counts where Presentation Intent Type says something else. CR has no such classes."""

VIEWS = {
    # Mammography: PS3.16 CID 4014 (SNOMED CT, then SNOMED RT), View Position as PS3.3 C.8.11.7 relates them.
    **dict.fromkeys(("399162004", "R-10242"), "CC"),
    **dict.fromkeys(("399368009", "R-10226"), "MLO"),
    **dict.fromkeys(("399260004", "R-10224"), "ML"),
    **dict.fromkeys(("399352003", "R-10228"), "LM"),
    **dict.fromkeys(("399099002", "R-10230"), "LMO"),
    **dict.fromkeys(("399196006", "R-10244"), "FB"),
    **dict.fromkeys(("399188001", "R-102D0"), "SIO"),
    **dict.fromkeys(("441555000", "R-40AAA"), "ISO"),
    **dict.fromkeys(("399192008", "R-1024A"), "XCCL"),
    **dict.fromkeys(("399101009", "R-1024B"), "XCCM"),
    **dict.fromkeys(("127457009", "G-8310"), "SPECIMEN"),
    # Digital X-ray: CID 4010 and the defined terms of PS3.3 C.8.11.5.
    **dict.fromkeys(("399348003", "R-10206"), "AP"),
    **dict.fromkeys(("272479007", "R-40888", "R-10214"), "PA"),
    **dict.fromkeys(("399173006", "R-10236"), "LL"),
    **dict.fromkeys(("399198007", "R-10232"), "RL"),
    **dict.fromkeys(("399067008", "R-102CD"), "LATERAL"),
    **dict.fromkeys(("399033003", "R-10202"), "FRONTAL"),
}
"""View Position for codes of View Code Sequence (0054,0220)."""
NARROWER = {"LATERAL": {"LL", "RL"}, "FRONTAL": {"AP", "PA"}}
"""View Positions that say more than another one: a left lateral is a lateral, and no contradiction to it."""

MODIFIERS = {
    # SNOMED CT, then SNOMED RT.
    **dict.fromkeys(("399163009", "R-102D6"), "magnification"),
    **dict.fromkeys(("399055006", "R-102D7"), "spot compression"),
    **dict.fromkeys(("441752004", "P2-00161"), "anterior compression"),
    **dict.fromkeys(("399209000", "R-102D5"), "implant displaced"),
    **dict.fromkeys(("399161006", "R-102D2"), "cleavage"),
    **dict.fromkeys(("399011000", "R-102D1"), "axillary tail"),
    **dict.fromkeys(("442580003", "R-40AB2"), "axillary tissue"),
    **dict.fromkeys(("442593008", "R-40ABE"), "infra-mammary fold"),
    **dict.fromkeys(("442581004", "R-40AB3"), "nipple in profile"),
    **dict.fromkeys(("399110001", "R-102C2"), "tangential"),
    **dict.fromkeys(("399197002", "R-102D3"), "rolled lateral"),
    **dict.fromkeys(("399226006", "R-102D4"), "rolled medial"),
    **dict.fromkeys(("414493004", "R-102CA"), "rolled inferior"),
    **dict.fromkeys(("415670009", "R-102C9"), "rolled superior"),
}
"""Names of codes of View Modifier Code Sequence (0054,0222): PS3.16 CID 4015."""
FROM_TOMOSYNTHESIS = frozenset({"GENERATED_2D", "TOMO", "TOMO_2D", "TOMOSYNTHESIS"})
"""Values of Image Type of a picture that was computed from tomosynthesis. It has the SOP Class and the view of a
mammogram, and another texture than one that was exposed."""
MOST_MAGNIFIED = 4.0
"""The greatest Estimated Radiographic Magnification Factor that is believed. Magnified mammograms have 1.5 to 2."""


@dataclass(frozen=True)
class ProjectionFacts:
    """How a projection was taken, as its header states it; empty where it does not.

    Attributes
    ----------
    views : the values of View Position that the image has, by View Position (0018,5101) and View Code Sequence: one,
        or none where neither states one. Two where they contradict each other.
    modifiers : in what the image differs from a plain one of that view, such as ``magnification``.
    laterality : Image Laterality, else Laterality: R, L, U (unpaired) or B (both).
    orientation : Patient Orientation (0020,0020): the patient's direction along a row, to the right, and down a column.
    body_part : Body Part Examined, else its value for Anatomic Region Sequence.
    intent : by the SOP Class; "" for CR.
    magnification : Estimated Radiographic Magnification Factor, 1 to `MOST_MAGNIFIED`; None where that is not stated.
    """

    views: tuple[str, ...] = ()
    modifiers: tuple[str, ...] = ()
    laterality: str = ""
    orientation: tuple[str, ...] = ()
    body_part: str = ""
    intent: PresentationIntent | Literal[""] = ""
    magnification: float | None = None

    @property
    def words(self) -> str:
        """The view in DICOM's terms, for a message: ``ImageLaterality L, ViewPosition CC``."""
        stated = [f"ImageLaterality {self.laterality}"] if self.laterality not in ("", "U") else []
        stated.append(f"ViewPosition {' and '.join(self.views) or 'absent'}")
        return ", ".join([*stated, *self.modifiers])


def facts_of(header: Dataset) -> ProjectionFacts:
    """The facts that ``header`` (pixel data not needed) states. Never raises: what cannot be read counts as absent."""
    factor = number(header, "EstimatedRadiographicMagnificationFactor")
    return ProjectionFacts(
        views=_views(header),
        modifiers=_modifiers(header),
        laterality=text(header, "ImageLaterality") or text(header, "Laterality"),
        orientation=texts(header, "PatientOrientation"),
        body_part=text(header, "BodyPartExamined") or _body_part(header),
        intent=INTENTS.get(text(header, "SOPClassUID"), ""),
        magnification=factor if factor is not None and 1 <= factor <= MOST_MAGNIFIED else None,
    )


def _views(header: Dataset) -> tuple[str, ...]:
    coded = (VIEWS.get(text(item, "CodeValue")) for item in items(header, "ViewCodeSequence"))
    found = dict.fromkeys(view for view in (text(header, "ViewPosition"), *coded) if view)
    return tuple(view for view in found if not NARROWER.get(view, set()) & set(found))


def _modifiers(header: Dataset) -> tuple[str, ...]:
    views = items(header, "ViewCodeSequence")
    coded = (text(item, "CodeValue") for view in views for item in items(view, "ViewModifierCodeSequence"))
    found = [MODIFIERS.get(code, "another view modifier") for code in coded]
    if FROM_TOMOSYNTHESIS.intersection(texts(header, "ImageType")):
        found.append("generated from tomosynthesis")
    return tuple(dict.fromkeys(found))


def _body_part(header: Dataset) -> str:
    regions = items(header, "AnatomicRegionSequence")
    return BODY_PARTS.get(text(regions[0], "CodeValue"), "") if regions else ""
