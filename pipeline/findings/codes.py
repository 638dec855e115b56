"""Coded concepts that SEG, SR and FHIR share, so that a finding has the same code everywhere.

Meanings of DICOM, SNOMED CT, LOINC and UCUM codes are those of PS3.16 where it lists the code, else the SNOMED CT
preferred term. The tests compare every code with pydicom's copy of PS3.16.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """A concept: ``value`` in coding ``scheme`` (PS3.16 section 8 designator), with its ``meaning`` for readers."""

    value: str
    scheme: str
    meaning: str

    @property
    def system(self) -> str | None:
        """The scheme's FHIR system URI; None for one that `SYSTEMS` lacks, such as a hospital's own."""
        return SYSTEMS.get(self.scheme)


PRIVATE_SCHEME = "99CANDELA"
"""Designator of the few concepts that no standard scheme has (designators of private schemes begin with 99)."""
PRIVATE_SCHEME_NAME = "Candela private concepts"

SYSTEMS = {
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "SCT": "http://snomed.info/sct",
    "LN": "http://loinc.org",
    "UCUM": "http://unitsofmeasure.org",
    "UMLS": "http://www.nlm.nih.gov/research/umls",
    "C4": "http://www.ama-assn.org/go/cpt",
    "RADLEX": "http://radlex.org",
    PRIVATE_SCHEME: "urn:candela:concepts",
}
"""FHIR system of each coding scheme (PS3.16 table 8-1; HL7 terminology)."""

# What is outlined: PS3.16 CID 7150 and CID 7159.
ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")
MORPHOLOGICALLY_ABNORMAL_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")
NEOPLASM = Code("108369006", "SCT", "Neoplasm")
LESION = Code("52988006", "SCT", "Lesion")

# Diagnoses of the model's classes: SNOMED CT disorders. An unverified result suggests, never states them.
GLIOMA = Code("393564001", "SCT", "Glioma")
MENINGIOMA = Code("302820008", "SCT", "Intracranial meningioma")
PITUITARY_TUMOR = Code("127024001", "SCT", "Neoplasm of pituitary gland")
NEOPLASM_OF_BRAIN = Code("126952004", "SCT", "Neoplasm of brain")
NO_TUMOR = Code("no-tumor", PRIVATE_SCHEME, "No tumor")

CLASS_CODES = {
    "glioma": GLIOMA,
    "meningioma": MENINGIOMA,
    "pituitary_tumor": PITUITARY_TUMOR,
    "no_tumor": NO_TUMOR,
}
"""Code of each class name of the models' cards."""
TERM_NAMES: Mapping[str, str] = {
    **{code.value: name for name, code in CLASS_CODES.items()},
    NEOPLASM_OF_BRAIN.value: "brain_tumor",
    NEOPLASM.value: "neoplasm",
    "121071": "finding",
}
"""By code value, the key of its name in the phrases of a report (section ``term``)."""
CLASS_TITLES = {
    "glioma": "Glioma",
    "meningioma": "Meningioma",
    "pituitary_tumor": "Pituitary tumor",
    "no_tumor": "No tumor",
}

# How surely: an attribute of SNOMED CT's situations with explicit context, and its value (PS3.16 CID 3770).
FINDING_CONTEXT = Code("408729009", "SCT", "Finding context")
SUSPECTED = Code("415684004", "SCT", "Suspected")

# Where: PS3.16 CID 4.
BRAIN = Code("12738006", "SCT", "Brain")
PITUITARY = Code("56329008", "SCT", "Pituitary")

# On which side: PS3.16 CID 244, CID 2.
LEFT = Code("7771000", "SCT", "Left")
RIGHT = Code("24028007", "SCT", "Right")
BILATERAL = Code("51440002", "SCT", "Bilateral")
MEDIAN = Code("130290", "DCM", "Median")
LATERALITY = Code("272741003", "SCT", "Laterality")
TOPOGRAPHICAL_MODIFIER = Code("106233006", "SCT", "Topographical modifier")

# Whether there is one: PS3.16 CID 240, CID 4220.
PRESENCE = Code("705057003", "SCT", "Presence")
PRESENT = Code("52101004", "SCT", "Present")
ABSENT = Code("272519000", "SCT", "Absent")
INDETERMINATE = Code("82334004", "SCT", "Indeterminate")

# Measurements: PS3.16 CID 7469, TID 300.
VOLUME = Code("118565006", "SCT", "Volume")
AREA = Code("42798000", "SCT", "Area")
LONG_AXIS = Code("103339001", "SCT", "Long axis")
SHORT_AXIS = Code("103340004", "SCT", "Short axis")
MR_SIGNAL_INTENSITY = Code("110852", "DCM", "MR signal intensity")
ATTENUATION_COEFFICIENT = Code("112031", "DCM", "Attenuation Coefficient")
LENGTH = Code("410668003", "SCT", "Length")
WIDTH = Code("103355008", "SCT", "Width")
DEPTH = Code("131197000", "SCT", "Depth")
PROBABILITY = Code("122157", "DCM", "Probability")
DERIVATION = Code("121401", "DCM", "Derivation")
MEAN = Code("373098007", "SCT", "Mean")

# Units: PS3.16 CID 7181.
CUBIC_MILLIMETER = Code("mm3", "UCUM", "cubic millimeter")
SQUARE_MILLIMETER = Code("mm2", "UCUM", "square millimeter")
MILLIMETER = Code("mm", "UCUM", "mm")
ARBITRARY_UNIT = Code("[arb'U]", "UCUM", "arbitrary unit")
HOUNSFIELD_UNIT = Code("[hnsf'U]", "UCUM", "Hounsfield unit")
NO_UNITS = Code("1", "UCUM", "no units")


# How: PS3.16 TID 1419, TID 1501; CID 7474.
MEASUREMENT_METHOD = Code("370129005", "SCT", "Measurement Method")
SUM_OF_VOXELS = Code("126030", "DCM", "Sum of segmented voxel method for volume")

# Procedure and report.
MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")
ONCOLOGY_REPORT = Code("126001", "DCM", "Oncology Measurement Report")
NEOPLASMS = frozenset({NEOPLASM, NEOPLASM_OF_BRAIN, GLIOMA, MENINGIOMA, PITUITARY_TUMOR})
"""Targets of a model that an oncology report is about."""
DIAGNOSTIC_IMAGING_STUDY = Code("18748-4", "LN", "Diagnostic imaging study")
RADIOLOGY = Code("LP29684-5", "LN", "Radiology")
"""The category that US Core's profile of reports asks for."""
DICOM_STUDY = Code("113014", "DCM", "DICOM Study")
SERIES_INSTANCE_UID = Code("112002", "DCM", "Series Instance UID")
OF_INTEREST = Code("113000", "DCM", "Of Interest")

# Rejection notes: titles of Key Object Selections (PS3.16 CID 7010; IHE RAD, Imaging Object Change Management).
REJECTED_FOR_QUALITY = Code("113001", "DCM", "Rejected for Quality Reasons")
REJECTED_FOR_PATIENT_SAFETY = Code("113037", "DCM", "Rejected for Patient Safety Reasons")
INCORRECT_WORKLIST_ENTRY = Code("113038", "DCM", "Incorrect Modality Worklist Entry")
RETENTION_EXPIRED = Code("113039", "DCM", "Data Retention Policy Expired")

SOURCE = Code("260753009", "SCT", "Source")
MR_BRAIN = Code("24590-2", "LN", "MR Brain")
CT_UNSPECIFIED = Code("25045-6", "LN", "CT unspecified body region")
MR_UNSPECIFIED = Code("25056-3", "LN", "MRI unspecified body region")
NM_UNSPECIFIED = Code("49118-3", "LN", "NM unspecified body region")
PET_UNSPECIFIED = Code("44136-0", "LN", "PET unspecified body region")
XR_UNSPECIFIED = Code("43468-8", "LN", "XR unspecified body region")
PROCEDURES: Mapping[str, Code] = {
    "CT": CT_UNSPECIFIED,
    "MR": MR_UNSPECIFIED,
    "NM": NM_UNSPECIFIED,
    "PT": PET_UNSPECIFIED,
    "CR": XR_UNSPECIFIED,
    "DX": XR_UNSPECIFIED,
}
"""By modality, the procedure of which nothing else is known (PS3.16 CID 100)."""
PROCEDURE_REPORTED = Code("121058", "DCM", "Procedure reported")
FINDING = Code("121071", "DCM", "Finding")
FINDING_SITE = Code("363698007", "SCT", "Finding Site")
COMMENT = Code("121106", "DCM", "Comment")
IMAGING_MEASUREMENTS = Code("126010", "DCM", "Imaging Measurements")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
CONCLUSIONS = Code("121076", "DCM", "Conclusions")
CONCLUSION = Code("121077", "DCM", "Conclusion")
TIME_POINT = Code("C2348792", "UMLS", "Time Point")
IMAGE_LIBRARY = Code("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")
MODALITY = Code("121139", "DCM", "Modality")
FRAME_OF_REFERENCE_UID = Code("112227", "DCM", "Frame of Reference UID")
TRACKING_IDENTIFIER = Code("112039", "DCM", "Tracking Identifier")
REFERENCED_SEGMENT = Code("121191", "DCM", "Referenced Segment")
TRACKING_UID = Code("112040", "DCM", "Tracking Unique Identifier")

# The algorithm: CID 7005, CID 7162, TID 4019; and how it explains itself: CID 217.
PERSON = Code("121006", "DCM", "Person")
DEVICE = Code("121007", "DCM", "Device")
DEVICE_OBSERVER_UID = Code("121012", "DCM", "Device Observer UID")
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
ALGORITHM_MANUFACTURER = Code("122405", "DCM", "Algorithm Manufacturer")
ALGORITHM_FAMILY = Code("111000", "DCM", "Algorithm Family")
ALGORITHM_NAME = Code("111001", "DCM", "Algorithm Name")
ALGORITHM_PARAMETERS = Code("111002", "DCM", "Algorithm Parameters")
ALGORITHM_VERSION = Code("111003", "DCM", "Algorithm Version")
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
VISUAL_EXPLANATION = Code("130401", "DCM", "Visual explanation")
OCCLUSION = Code("occlusion", PRIVATE_SCHEME, "Occlusion sensitivity")
GRAD_CAM = Code("130403", "DCM", "Gradient-weighted class activation")

# Participants of an audit event: PS3.15 A.5, CID 402.
SOURCE_ROLE = Code("110153", "DCM", "Source Role ID")
DESTINATION_ROLE = Code("110152", "DCM", "Destination Role ID")


@dataclass(frozen=True)
class ClassTerm:
    """The terms of one class of a model: its ``name`` on the card, a ``title`` for readers, its ``code``, and the
    ``site`` of its findings (PS3.16 CID 4; None where the bundle states none). ``category`` is the Segmented Property
    Category of a structure (PS3.16 CID 7150), None where the bundle states none.
    """

    name: str
    title: str
    code: Code
    site: Code | None
    category: Code | None = None


def class_term(name: str) -> ClassTerm:
    """The term of a model class for which the bundle has none."""
    return ClassTerm(name, class_title(name), class_code(name), finding_site(name))


def class_code(name: str) -> Code:
    """Code of a model class; a private code where `CLASS_CODES` lacks the class."""
    return CLASS_CODES.get(name) or Code(name[:16], PRIVATE_SCHEME, class_title(name))


def class_title(name: str) -> str:
    """The title of a model class for readers: ``pituitary_tumor`` is "Pituitary tumor"."""
    return CLASS_TITLES.get(name) or name.replace("_", " ").capitalize()


def finding_site(class_name: str) -> Code:
    """The site of a finding of class ``class_name``: the pituitary for its tumours, the brain for all others."""
    return PITUITARY if class_name == "pituitary_tumor" else BRAIN


def presence(outcome: str) -> Code:
    """The presence of the model's target by ``outcome`` (a `pipeline.findings.model.Outcome`).

    Raises
    ------
    ValueError
        for an outcome that states no presence: a refusal says nothing about the patient, a measurement of nothing that
        is sought.
    """
    codes = {"finding": PRESENT, "no_finding": ABSENT, "indeterminate": INDETERMINATE}
    if outcome not in codes:
        raise ValueError(f"{outcome} says nothing of a finding")
    return codes[outcome]
