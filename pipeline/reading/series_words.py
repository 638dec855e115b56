"""Evidence about an MR series from free text and sequence names in its header.

Vendors name sequences in SequenceName, PulseSequenceName and private elements; technologists name the contrast in
SeriesDescription. This module only matches them against lists of words; `pipeline.reading.weighting` weighs
them. It never returns free text from the header, which may name a patient.
"""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

from pipeline.reading.attributes import text, texts
from pipeline.reading.validation import UNREADABLE

START, END = r"(?<![a-z0-9])", r"(?![a-z0-9])"
PREFIX = r"(?:\d?s|e|v|d|fs|cs|gd|ce|ir|ax|sag|cor|tra|obl|(?:ax|sag|cor|tra|s|e|w)?[23]d)?"
"""Prefixes of a weighting without a space: "3DT1", "sag3DT1", Philips "sT1W_3D_TFE" and "eT1W"."""

LOCALIZER = re.compile(rf"{START}(?:locali[sz]ers?|loc|scouts?|survey|surview|topogram|(?:3|three)[\s_-]?plane){END}")

WEIGHTINGS = {
    "T2*": re.compile(rf"{START}{PREFIX}t2[\s_-]?(?:\*|stars?{END}|w\*)|{START}(?:swi|swip|swan|hemo){END}"),
    "T1": re.compile(rf"{START}{PREFIX}t1(?![0-9])"),
    "T2": re.compile(rf"{START}{PREFIX}t2(?![0-9])(?![\s_-]?(?:\*|stars?{END}|w\*))"),
    "PD": re.compile(rf"{START}{PREFIX}(?:pd|pdw|dp|proton[\s_-]?density|protonen)(?![a-z0-9])"),
    "FLAIR": re.compile(rf"{START}(?:{PREFIX}flair|dark[\s_-]?fluid|dir)(?![a-z0-9])"),
    "STIR": re.compile(rf"{START}{PREFIX}(?:stir)(?![a-z0-9])"),
}
"""Words of a description that name a contrast."""

T1_SEQUENCES = re.compile(
    rf"{START}(?:me|moco|memoco|mocome)?(?:mp[\s_-]?rage|memp-?rage)|{START}(?:i?bravo|(?:ir-?)?f?spgr){END}"
)
"""Words of a description that name a sequence which is run for T1 contrast only."""

T1_NAMES = re.compile(
    r"t1[\s_-]?(?:3d[\s_-]?)?(?:tfe|ffe|se|tse|fe)|mp-?rage|mprage|bravo|f?spgr|rssg|gre_fsp|gre_quick|vibe|thrive|lava",
)
"""Sequence names of sequences that are run for T1 contrast: Philips T1TFE, GE BRAVO, Hitachi RSSG, UIH gre_fsp."""

TURBO_FLASH = re.compile(r"(?:^|[*_\s])tfl[23]?d?\d?")
"""Siemens' name of the sequence behind MPRAGE. Turbo FLASH without inversion has the same name and is not T1."""

BALANCED = re.compile(
    r"(?:^|[*\s]|wip_)(?:tfi|ci|psif|de|me|mefi)[23]d|true?fi(?:sp)?|fiesta|b[\s_-]?(?:ffe|tfe|ssfp)|ciss|psif|dess|drive",
)
"""Sequence names of steady-state sequences whose contrast is that of T2 over T1, and of T2* sequences."""

PRIVATE_NAMES = (
    (0x0019, "GEMS_ACQU_01", 0x9C),
    (0x0019, "GEMS_ACQU_01", 0x9E),
    (0x2001, "Philips Imaging DD 001", 0x20),
)
"""Group, creator and element of private sequence names: GE Pulse Sequence Name and Internal Pulse Sequence Name,
Philips Scanning Technique."""

SPECIAL_WORDS = {
    "a field map": re.compile(
        r"field[\s_-]?map|gre[\s_-]?field|b[\s_-]?zero[\s_-]?map|feldkarte|phase[\s_-]?diff|phasediff|magnitude[12]"
        rf"|{START}(?:wip[\s_-])?(?:\dd)?b[01](?:[\s_-]?maps?\w*)?{END}|b[01][\s_-]?maps?|{START}f(?:ield)?[\s_-]?maps?{END}"
        rf"|{START}(?:rf|tfl)[\s_-]?(?:b1)?[\s_-]?map|{START}shim(?:map)?{END}"
    ),
    "a quantitative map": re.compile(
        r"(?:t1|t2\*?|r1|r2\*?|pd|t1rho|fat[\s_-]?fraction)[\s_-]?(?:w[\s_-]?)?map|t1[\s_-]?images|t1[\s_-]?rho|sh?molli"
    ),
    "an inversion image of an MP2RAGE": re.compile(rf"{START}inv[\s_-]?[12]{END}|{START}inv[\s_-]?[12]_"),
    "a time-of-flight or contrast-enhanced angiography": re.compile(
        rf"{START}(?:[23]d)?(?:tof|mra|mrv|angio\w*|cemra|time[\s_-]?of[\s_-]?flight|twist|tricks|pca|phase[\s_-]?contrast)"
        rf"(?:[23]d)?{END}"
    ),
    "a projection": re.compile(
        rf"{START}(?:thick)?m(?:in)?ip(?:s|_range)?{END}|min[\s_-]?ip|max[\s_-]?ip|{START}projection"
    ),
    "a subtraction": re.compile(rf"{START}subtr\w*|{START}subs?(?![\s_-]*[a-z]*\d)(?![a-z0-9])"),
    "a perfusion or arterial spin labelling series": re.compile(
        rf"{START}(?:perf\w*|asl|pcasl|pasl|3dpcasl|cbf|cbv|ktrans|dsc){END}"
    ),
    "a diffusion series": re.compile(rf"{START}(?:dwi|dti|adc|trace|tracew|dw[\s_-]?epi){END}"),
}
"""Words of a description that exclude an anatomical image with a weighting."""

SPECIAL_IMAGE_TYPES = {
    "a map": re.compile(r"(?:.*[ _])?MAP|ADC|E?ADC|FA|COLFA|TRACEW?|AVDC|EXP|FIELDMAP|FIELD_MAP|B0|T1RHO|FF|QUANTITY"),
    "a perfusion map": re.compile(r"PERFUSION|ASL|(?:REL)?(?:CBF|CBV|MTT|TTP|TMAX)|PBP|GBP"),
    "diffusion-weighted": re.compile(r"DIFFUSION|TENSOR|TENSOR_B0|DWI|DTI"),
    "of phase, real or imaginary parts": re.compile(
        r"P|PHASE|PHASE[ _]MAP|R|REAL|I|IMAGINARY|VELOCITY|FLOW(?:_ENCODED)?"
    ),
    "a mosaic": re.compile(r"MOSAIC"),
    "a projection": re.compile(
        r"M(?:IN)?IP|MIN[ _]IP|MNIP|PROJECTION IMAGE|PROJECTION|MAXIMUM|MINIMUM|VOLUME_RENDER|3D RENDERING"
    ),
    "a subtraction": re.compile(r"SUB|SUBTRACT|SUBTRACTION|DIVISION|MULTIPLICATION|STD_DEVIATION"),
    "an inversion image of an MP2RAGE": re.compile(r"INV[12]"),
    "a fat or opposed-phase image": re.compile(r"F|FAT|OP|OPP_PHASE|OUT_PHASE|OPPOSED_PHASE|OUT_OF_PHASE|FAT_FRACTION"),
}
"""Values of ImageType from the third on (PS3.3 C.8.3.1.1.1, C.8.13.1, C.8.16.1; and vendors' own) that mark images
without a weighting of tissue, or with another than their sequence's: maps, projections, parts of a complex signal."""

SPECIAL_NAMES = {
    "a field map": re.compile(r"(?:^|[*_\s])fm[23]d|b[01][\s_-]?map|gre[\s_-]?field|field[\s_-]?map|rf[\s_-]?map"),
    "a time-of-flight or contrast-enhanced angiography": re.compile(
        rf"{START}(?:[23]d)?tof(?:[23]d)?{END}|(?:^|[*\s])fi[23]d|(?:^|[*\s])fl[23]d\w*_?pc\d?{END}|twist|tricks"
    ),
}
"""Sequence names that mark such images."""


def described(header: Dataset) -> frozenset[str]:
    """The contrasts that SeriesDescription names, or else ProtocolName: T1, T2, T2*, PD, FLAIR, STIR.

    T1 FLAIR is T1: an inversion recovery whose inversion time gives T1 contrast. A sequence that is run for T1 contrast
    only (MPRAGE, BRAVO, SPGR) counts as T1 where no contrast is named.
    """
    said = _description(header)
    return contrasts(said)


def contrasts(said: str) -> frozenset[str]:
    """As `described`, for any text."""
    said = said.casefold()
    named = {name for name, pattern in WEIGHTINGS.items() if pattern.search(said)}
    if named & {"T1", "T2"}:
        named -= {"FLAIR"}
    if not named and T1_SEQUENCES.search(said):
        named = {"T1"}
    return frozenset(named)


def is_uni(header: Dataset) -> bool:
    """Whether the header marks the uniform image of an MP2RAGE, which is T1-weighted."""
    values = {value.upper() for value in texts(header, "ImageType")}
    return any(value.startswith("UNI") for value in values) or bool(
        re.search(rf"{START}uni(?:[\s_-]?(?:den|images?|t1))*{END}|_uni_|unit1", _description(header))
    )


def is_localizer(header: Dataset) -> bool:
    """Whether ImageType has LOCALIZER, or SeriesDescription names a localiser: MR scanners seldom set the former."""
    values = {value.upper() for value in texts(header, "ImageType")}
    return "LOCALIZER" in values or LOCALIZER.search(text(header, "SeriesDescription").casefold()) is not None


def sequence_names(header: Dataset) -> dict[str, str]:
    """The names of the sequence, in lower case, by the attribute that holds them, private attributes included."""
    names = {keyword: text(header, keyword).casefold() for keyword in ("SequenceName", "PulseSequenceName")}
    for group, creator, element in PRIVATE_NAMES:
        value = _private(header, group, creator, element)
        if value:
            names.setdefault(f"private sequence name ({creator})", value)
    return {keyword: name for keyword, name in names.items() if name}


def special(header: Dataset) -> tuple[str, str] | None:
    """The kind of a series without a weighting (`SPECIAL_WORDS`) and the attribute that states it; None for other
    series.
    """
    for value, what in special_image_types(header).items():
        return f"{what} ({value})", "ImageType"
    words = {"SeriesDescription": _description(header), "ProtocolName": text(header, "ProtocolName").casefold()}
    for attribute, said in words.items():
        for what, pattern in SPECIAL_WORDS.items():
            if pattern.search(said) and (attribute == "SeriesDescription" or what == "a field map"):
                return what, attribute
    for attribute, name in sequence_names(header).items():
        for what, pattern in SPECIAL_NAMES.items():
            if pattern.search(name):
                return what, attribute
    return None


def special_image_types(header: Dataset) -> dict[str, str]:
    """The kinds that values of ImageType from the third on mark, by value; empty for anatomical images."""
    values = [value.upper() for value in texts(header, "ImageType")[2:]]
    return {
        value: what
        for value in values
        for what, pattern in SPECIAL_IMAGE_TYPES.items()
        if pattern.fullmatch(value) and not (value == "F" and "FFE" in values)
    }


def _description(header: Dataset) -> str:
    return (text(header, "SeriesDescription") or text(header, "ProtocolName")).casefold()


def _private(header: Dataset, group: int, creator: str, element: int) -> str:
    try:
        value = header.private_block(group, creator)[element].value
    except UNREADABLE:
        return ""
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return value.strip(" \0").casefold() if isinstance(value, str) else ""
