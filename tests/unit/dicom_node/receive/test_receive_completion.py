"""When a series is complete."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.receive.completion import Evidence, decide, wake_at
from dicom_node.settings_receive import Completion

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
    ],
)
def test_each_rule_gives_its_reason(evidence: Evidence, now: float, reason: str | None) -> None:
    """Silence, release and count decide when docs say so, and not a moment before."""
    assert decide(evidence, POLICY, now) == reason


times = st.floats(0, 1e6)
spans = st.floats(0.125, 1000)
policies = st.builds(Completion, quiet_after_release=spans, quiet_time=spans, count_timeout=spans)
evidences = st.builds(
    Evidence,
    received=st.integers(1, 300),
    last_received=times,
    released_at=st.none() | times,
    expected=st.none() | st.integers(1, 300),
    expected_source=st.just("C-FIND"),
    count_pending=st.booleans(),
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
    """No silence is waited for when the peer has said how many there are and they are here."""
    reached = replace(evidence, expected=evidence.received)
    assert decide(reached, policy, now) == f"expected count {evidence.received} reached (C-FIND)"


@given(evidences, policies, times)
def test_a_missing_instance_never_makes_a_series_complete_sooner(
    evidence: Evidence, policy: Completion, now: float
) -> None:
    """Knowing that instances are missing only ever holds back."""
    missing = replace(evidence, expected=evidence.received + 1)
    unknown = replace(evidence, expected=None, count_pending=False)
    assert wake_at(missing, policy, now) >= wake_at(unknown, policy, now)
