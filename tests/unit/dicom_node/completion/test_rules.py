"""When a series is complete."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.completion.rules import Evidence, decide, wake_at
from dicom_node.settings.receive import Completion

POLICY = Completion(quiet_after_release=3.0, quiet_time=60.0, count_timeout=30.0)
SEEN = Evidence(received=175, last_received=100.0)
RELEASED = replace(SEEN, released_at=101.0)


@pytest.mark.parametrize(
    ("evidence", "now", "reason"),
    [
        (RELEASED, 103.9, None),
        (RELEASED, 104.0, "association released and quiet for 3.0 s (175 instances)"),
        (SEEN, 159.9, None),
        (SEEN, 160.0, "quiet for 60.0 s (175 instances)"),
        (replace(SEEN, expected=175, expected_source="Orthanc"), 100.0, "expected count 175 reached (Orthanc)"),
        (replace(SEEN, expected=170, expected_source="C-FIND"), 100.0, "expected count 170 reached (C-FIND)"),
        (replace(RELEASED, expected=176), 130.9, None),
        (
            replace(RELEASED, expected=176),
            131.0,
            "association released and quiet for 3.0 s (175 of 176 expected instances)",
        ),
        (replace(RELEASED, count_pending=True), 130.9, None),
        (replace(RELEASED, count_pending=True), 131.0, "association released and quiet for 3.0 s (175 instances)"),
        (replace(SEEN, expected=176), 160.0, "quiet for 60.0 s (175 of 176 expected instances)"),
        # a release that is not believed: a small part, a series that came back before, more images than have come
        (replace(RELEASED, plausible=False), 159.9, None),
        (replace(RELEASED, plausible=False), 160.0, "quiet for 60.0 s (175 instances)"),
        (replace(RELEASED, stated=176), 159.9, None),
        (replace(RELEASED, stated=176), 160.0, "quiet for 60.0 s (175 instances)"),
        (replace(RELEASED, reopened=1), 219.9, None),
        (replace(RELEASED, reopened=1), 220.0, "quiet for 120.0 s (175 instances)"),
        (replace(RELEASED, reopened=3), 580.0, "quiet for 480.0 s (175 instances)"),
        (replace(RELEASED, reopened=40), 700.0, "quiet for 600.0 s (175 instances)"),
        # a count that is not believed: stale, of a series that came back, of a peer that counts what it passes on
        (replace(RELEASED, expected=175, count_fresh=False), 103.0, None),
        (replace(RELEASED, expected=175, reopened=1), 219.9, None),
        (replace(RELEASED, expected=175, stated=176), 159.9, None),
        (replace(RELEASED, expected=175, plausible=False), 159.9, None),
        (
            replace(RELEASED, expected=175, expected_source="C-FIND", plausible=False, count_ahead=True),
            101.0,
            "expected count 175 reached (C-FIND)",
        ),
    ],
)
def test_each_rule_gives_its_reason(evidence: Evidence, now: float, reason: str | None) -> None:
    """Silence, release and count decide when docs say so, and not a moment before."""
    assert decide(evidence, POLICY, now) == reason


times = st.floats(0, 1e6)
spans = st.floats(0.125, 1000)
policies = st.builds(
    Completion, quiet_after_release=spans, quiet_time=spans, count_timeout=spans, quiet_most=st.floats(0.125, 2000)
)
evidences = st.builds(
    Evidence,
    received=st.integers(1, 300),
    last_received=times,
    released_at=st.none() | times,
    expected=st.none() | st.integers(1, 300),
    expected_source=st.just("C-FIND"),
    count_pending=st.booleans(),
    plausible=st.booleans(),
    reopened=st.integers(0, 50),
    stated=st.integers(1, 300),
    count_fresh=st.booleans(),
    count_ahead=st.booleans(),
)


@given(evidences, policies, times)
def test_every_series_completes_in_the_end(evidence: Evidence, policy: Completion, now: float) -> None:
    """Whatever the peers do, the loop that sleeps until wake_at finds the series complete when it wakes."""
    wake = wake_at(evidence, policy, now)
    assert wake >= now
    assert decide(evidence, policy, wake) is not None


@given(evidences, policies, times)
def test_waking_is_never_too_late(evidence: Evidence, policy: Completion, now: float) -> None:
    """A series is not complete before wake_at: sleeping until then delays nothing."""
    wake = wake_at(evidence, policy, now)
    if wake > now:
        assert decide(evidence, policy, now) is None
        assert decide(evidence, policy, now + (wake - now) * 0.999) is None or wake - now < 1e-6


@given(evidences, policies, times, spans)
def test_complete_stays_complete(evidence: Evidence, policy: Completion, now: float, later: float) -> None:
    """If nothing more happens, time alone never makes a complete series incomplete."""
    if decide(evidence, policy, now):
        assert decide(evidence, policy, now + later)


@given(evidences, policies, times)
def test_a_reached_count_decides_at_once(evidence: Evidence, policy: Completion, now: float) -> None:
    """No silence is waited for when as many as the peer counts are here, and nothing speaks against it."""
    reached = replace(evidence, expected=evidence.received, plausible=True, reopened=0, stated=1, count_fresh=True)
    assert decide(reached, policy, now) == f"expected count {evidence.received} reached (C-FIND)"


@given(evidences, policies, times)
def test_a_missing_instance_never_makes_a_series_complete_sooner(
    evidence: Evidence, policy: Completion, now: float
) -> None:
    """Knowing that instances are missing only ever holds back."""
    missing = replace(evidence, expected=evidence.received + 1)
    unknown = replace(evidence, expected=None, count_pending=False)
    assert wake_at(missing, policy, now) >= wake_at(unknown, policy, now)


@given(evidences, policies, times, st.sampled_from(["plausible", "reopened", "stated", "count_fresh"]))
def test_doubt_never_makes_a_series_complete_sooner(
    evidence: Evidence, policy: Completion, now: float, doubt: str
) -> None:
    """Whatever speaks against a series being whole only ever holds it back."""
    doubts = {
        "plausible": {"plausible": False},
        "reopened": {"reopened": evidence.reopened + 1},
        "stated": {"stated": evidence.received + 1},
        "count_fresh": {"count_fresh": False},
    }
    assert wake_at(replace(evidence, **doubts[doubt]), policy, now) >= wake_at(evidence, policy, now)


def test_waits_grow_and_end() -> None:
    """A site that waits longer than the most from the start keeps its wait."""
    assert [POLICY.quiet(times) for times in (0, 1, 2, 3, 4, 1000)] == [60, 120, 240, 480, 600, 600]
    assert [POLICY.hold(counted=False, revision=number) for number in (1, 2, 3, 4)] == [120, 240, 480, 600]
    assert [POLICY.hold(counted=True, revision=number) for number in (1, 2)] == [30, 60]
    slow = Completion(quiet_time=900, negative_hold=0)
    assert [slow.quiet(times) for times in (0, 5)] == [900, 900]
    assert slow.hold(counted=False, revision=7) == 0
