"""Routing over arbitrary headers and rules: it never raises, its laws hold, and what explains is what decides."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from pipeline.routing.protocol import ProtocolContract
from pipeline.routing.rules import Rule, judge
from pipeline.routing.selection import Candidate, choose
from pipeline.routing.series_attributes import SeriesAttributes, describe

READ = {
    "Modality": "CS", "BodyPartExamined": "CS", "SOPClassUID": "UI", "ImageType": "CS", "ScanningSequence": "CS",
    "Manufacturer": "LO", "StationName": "SH", "SeriesDescription": "LO", "ProtocolName": "LO",
    "ImageOrientationPatient": "DS", "EchoTime": "DS", "RepetitionTime": "DS", "InversionTime": "DS",
    "FlipAngle": "DS", "SliceThickness": "DS", "MagneticFieldStrength": "DS", "MRAcquisitionType": "CS",
    "ContrastBolusAgent": "LO", "ContrastBolusAgentSequence": "SQ", "NumberOfFrames": "IS", "SeriesNumber": "IS",
    "InstanceNumber": "IS", "DiffusionBValue": "FD", "AngioFlag": "CS", "SeriesInstanceUID": "UI",
}  # fmt: skip
VRS = ["AE", "AS", "AT", "CS", "DA", "DS", "FD", "FL", "IS", "LO", "OB", "OW", "PN", "SH", "SL", "SQ", "UI", "UN", "US"]
likely = st.sampled_from(
    [b"", b"MR", b"MR\\CT", b"BRAIN ", b"T1 AX POST", b"ORIGINAL\\PRIMARY\\M", b"DERIVED\\SECONDARY", b"SE\\IR",
     b"1\\0\\0\\0\\1\\0", b"15", b"500 ", b"1e309", b"nan", b"-4", b"99999999999999999999", b"\\\\\\", b"3D", b"Y ",
     b"1.2.840.10008.5.1.4.1.1.4", b"1.2.840.10008.5.1.4.1.1.4.1", b"\xff\xfe", b"\x1b[31m"]
)  # fmt: skip


class Header(Dataset):
    """Shown as it was drawn: pydicom's own text would parse the values, and raise."""

    def __repr__(self) -> str:
        return repr([(hex(tag), item.VR, item.value) for tag, item in self._dict.items()])


@st.composite
def headers(draw: st.DrawFn) -> Dataset:
    """A header whose attributes hold anything, in the right VR or another."""
    ds = Header()
    for keyword, vr in READ.items():
        if draw(st.booleans()):
            tag, value = Tag(keyword), draw(likely | st.binary(max_size=24))
            form = vr if draw(st.integers(0, 3)) else draw(st.sampled_from(VRS))
            ds._dict[tag] = RawDataElement(tag, form, len(value), value, 0, False, True)
    return ds


words = st.sampled_from(["MR", "CT", "BRAIN", "KNEE", "SIEMENS", "MR1"])
ranges = st.tuples(st.floats(0, 1000), st.floats(0, 1000)).map(lambda ends: {"min": min(ends), "max": max(ends)})
conditions = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("modality", "body_part", "station", "calling_ae"), st.lists(words, min_size=1, max_size=2)),
        **dict.fromkeys(("echo_time", "repetition_time", "number_of_slices", "slice_thickness"), ranges),
        "description": st.sampled_from(["*", "*t1*", "*post*"]),
        "orientation": st.sampled_from(["axial", "oblique"]),
        "weighting": st.sampled_from(["T1", "T2"]),
        "image_type": st.sampled_from([{"contains": ["M"]}, {"excludes": ["DERIVED"]}]),
        "contrast": st.booleans(),
        "derived": st.sampled_from(["exclude", "include", "only"]),
        "localizer": st.sampled_from(["exclude", "include", "only"]),
    },
)
groups = st.lists(conditions.filter(bool), max_size=2)
whens = st.tuples(conditions, groups, groups).map(lambda parts: {**parts[0], "any_of": parts[1], "none_of": parts[2]})


@st.composite
def rule_lists(draw: st.DrawFn) -> tuple[Rule, ...]:
    number = draw(st.integers(0, 4))
    return tuple(
        Rule.model_validate({"name": f"r{index}", "when": draw(whens), "model": draw(st.sampled_from(["a", "b"]))})
        for index in range(number)
    )


def alone(rule: Rule, attributes: SeriesAttributes) -> bool:
    """Whether ``rule`` takes the series where it is the only one."""
    return bool(judge((rule,), attributes).taken)


@given(ds=headers(), rules=rule_lists(), ae=st.text(max_size=16))
@settings(deadline=None)
def test_any_header_is_routed_or_refused_with_a_reason_for_each_rule(
    ds: Dataset, rules: tuple[Rule, ...], ae: str
) -> None:
    """Never another exception, and nothing unprintable in the reason."""
    routing = judge(rules, describe(ds, calling_ae=ae))
    if not routing.taken:
        refused = routing.refusal().what
        assert refused.isprintable()
        assert all(f"rule {rule.name!r}: " in refused for rule in rules)


@given(ds=headers(), rules=rule_lists())
@settings(deadline=None)
def test_the_first_rule_that_holds_by_itself_decides(ds: Dataset, rules: tuple[Rule, ...]) -> None:
    attributes = describe(ds)
    holding = [rule for rule in rules if alone(rule, attributes)]
    assert list(judge(rules, attributes, "first").taken) == holding[:1]


@given(ds=headers(), rules=rule_lists())
@settings(deadline=None)
def test_all_matches_are_the_first_that_holds_for_each_model(ds: Dataset, rules: tuple[Rule, ...]) -> None:
    attributes = describe(ds)
    firsts: dict[str, Rule] = {}
    for rule in rules:
        if alone(rule, attributes):
            firsts.setdefault(rule.model, rule)
    assert judge(rules, attributes, "all").taken == tuple(rule for rule in rules if rule in firsts.values())


@pytest.mark.parametrize("match", ["first", "all"])
@given(ds=headers(), rules=rule_lists())
@settings(deadline=None)
def test_what_explains_is_what_decides(ds: Dataset, rules: tuple[Rule, ...], match: Any) -> None:
    """A rule takes the series exactly where all its checks hold and no rule before decided; the rest have a reason."""
    routing = judge(rules, describe(ds), match)
    assert [verdict.rule for verdict in routing.verdicts] == list(rules)
    for verdict in routing.verdicts:
        assert verdict.holds == all(check.holds for check in verdict.checks)
        assert (verdict.rule in routing.taken) == (verdict.reason == "")


@given(found=st.lists(headers(), max_size=5), order=st.randoms())
@settings(deadline=None)
def test_any_study_has_one_choice_whatever_the_order(found: list[Dataset], order: Any) -> None:
    """Each series is chosen or passed over with a reason, once."""
    contract = ProtocolContract("MR", ("BRAIN",), ("T1",), contrast_expected=True)
    candidates = [Candidate(f"1.{index}", ds, describe(ds, instances=9)) for index, ds in enumerate(found)]
    choice = choose(candidates, contract)
    seen = [item.candidate.series_instance_uid for item in choice.passed_over]
    seen += [choice.chosen.series_instance_uid] if choice.chosen else []
    assert sorted(seen) == sorted(item.series_instance_uid for item in candidates)
    assert all(item.reason for item in choice.passed_over)
    order.shuffle(candidates)
    assert choose(candidates, contract) == choice
