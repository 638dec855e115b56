"""How readers see a UCUM unit: by its symbol, which is the same in every language, or by a word of the language.

The meaning that a coded unit carries ("year", "cubic millimeter") is English and is for programs.
"""

from __future__ import annotations

import re

from pipeline.findings import codes
from pipeline.findings.codes import Code
from pipeline.report import phrasebook

SYMBOLS = {
    codes.NO_UNITS.value: "",
    codes.ARBITRARY_UNIT.value: "",
    codes.HOUNSFIELD_UNIT.value: "HU",
    "mm2": "mm²",
    "mm3": "mm³",
    "cm2": "cm²",
    "cm3": "cm³",
    "m2": "m²",
    "mm[Hg]": "mmHg",
    "Cel": "°C",
    "deg": "°",
    "um": "µm",
    "ug": "µg",
}
"""What is written for UCUM codes that are no symbol themselves, as mm, mL, kg and % are."""
ANNOTATION = re.compile(r"\{[^}]*\}")
"""Text in a UCUM code that means nothing to it, as in ``{score}``."""


def unit_text(unit: Code, figure: str, language: str) -> str:
    """What stands behind ``figure``, a number as it is written; "" where the unit is none."""
    if unit.scheme != "UCUM":
        return unit.meaning
    code = ANNOTATION.sub("", unit.value)
    if phrasebook.has("unit", code, language):
        return phrasebook.phrase("unit", code, language, count=1 if figure == "1" else 2)
    return SYMBOLS.get(code, code)
