"""The coded concepts are those of the standards that they claim to be from."""

from __future__ import annotations

import pytest
from pydicom.sr.codedict import codes as standard

from pipeline.findings import codes
from pipeline.findings.codes import Code
from pipeline.findings.model import Outcome

ALL = {name: value for name, value in vars(codes).items() if isinstance(value, Code)}

NOT_IN_PS3_16 = {
    "GLIOMA",
    "MENINGIOMA",
    "PITUITARY_TUMOR",
    "NEOPLASM_OF_BRAIN",
    "NO_TUMOR",
    "OCCLUSION",
    "RADIOLOGY",
    "PRESENCE",
    "FINDING_CONTEXT",
    "QUALITATIVE_EVALUATIONS",
    "TIME_POINT",
}
"""SNOMED CT disorders, a property and an attribute that PS3.16 does not list, our private code, a LOINC part, and
concepts that PS3.16 names only within its templates (TID 1500, 1502), where pydicom does not collect
them."""
OTHER_NAMES = {
    "MR_BRAIN": "brain mri",
    "DIAGNOSTIC_IMAGING_STUDY": "diagnostic imaging report",
    "DICOM_STUDY": "study",
    "SOURCE": "source (attribute)",
}
"""The name in PS3.16 where ours is that of LOINC, of SNOMED CT's preferred term, or says more than "Study"."""


def known(scheme: str) -> dict[str, set[str]]:
    """Meanings by code value in pydicom's copy of PS3.16."""
    from pydicom.sr._concepts_dict import concepts

    found: dict[str, set[str]] = {}
    for entries in concepts[scheme].values():
        for value, (meaning, _) in entries.items():
            found.setdefault(value, set()).add(meaning.casefold())
    return found


@pytest.mark.parametrize("name", sorted(set(ALL) - NOT_IN_PS3_16))
def test_a_code_is_in_the_standard_with_this_meaning(name: str) -> None:
    """Value, scheme and meaning are those of PS3.16, or the other name is listed above."""
    code = ALL[name]
    meanings = known(code.scheme).get(code.value)
    assert meanings is not None, f"{code} is not in PS3.16"
    assert OTHER_NAMES.get(name, code.meaning.casefold()) in meanings


@pytest.mark.parametrize("name", sorted(NOT_IN_PS3_16))
def test_an_exception_is_one(name: str) -> None:
    """A code listed as unknown to PS3.16 is unknown to it: otherwise it belongs among those that are compared."""
    code = ALL[name]
    assert code.scheme == codes.PRIVATE_SCHEME or code.value not in known(code.scheme)


@pytest.mark.parametrize(
    "code", [value for value in ALL.values() if value.scheme == "SCT"], ids=lambda code: code.value
)
def test_a_snomed_code_has_a_valid_check_digit(code: Code) -> None:
    """The last digit of an SCTID is a Verhoeff check digit, so that a mistyped code is seen."""
    product = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 2, 3, 4, 0, 6, 7, 8, 9, 5],
        [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
        [3, 4, 0, 1, 2, 8, 9, 5, 6, 7],
        [4, 0, 1, 2, 3, 9, 5, 6, 7, 8],
        [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
        [6, 5, 9, 8, 7, 1, 0, 4, 3, 2],
        [7, 6, 5, 9, 8, 2, 1, 0, 4, 3],
        [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
        [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
    ]
    permutation = [list(range(10)), [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]]
    for _ in range(6):
        permutation.append([permutation[-1][digit] for digit in permutation[1]])
    check = 0
    for place, digit in enumerate(reversed(code.value)):
        check = product[check][permutation[place % 8][int(digit)]]
    assert check == 0


def test_every_scheme_has_a_fhir_system() -> None:
    """What SR says, FHIR can say: each scheme in use has its system URI."""
    assert {code.system for code in ALL.values()} <= set(codes.SYSTEMS.values())


def test_code_values_fit_their_attribute() -> None:
    """Code Value is a Short String of 16 characters (PS3.3 8.8)."""
    assert all(len(code.value) <= 16 for code in (*ALL.values(), codes.class_code("a_class_with_a_long_name")))


def test_a_class_that_no_scheme_names_gets_a_private_code() -> None:
    """A model with other classes can be reported before anyone maps them to SNOMED CT."""
    assert codes.class_code("metastasis") == Code("metastasis", codes.PRIVATE_SCHEME, "Metastasis")


def test_presence_follows_the_outcome() -> None:
    """Finding, no finding and indeterminate are three answers; a refusal says nothing of the patient."""
    assert codes.presence(Outcome.FINDING) == codes.PRESENT
    assert codes.presence(Outcome.NO_FINDING) == codes.ABSENT
    assert codes.presence(Outcome.INDETERMINATE) == codes.INDETERMINATE
    with pytest.raises(ValueError, match="refused"):
        codes.presence(Outcome.REFUSED)


def test_the_technique_is_the_standards() -> None:
    """Grad-CAM and its row have codes of their own in DCM."""
    assert standard.DCM.GradientWeightedClassActivation.value == codes.GRAD_CAM.value
    assert standard.DCM.VisualExplanation.value == codes.VISUAL_EXPLANATION.value
