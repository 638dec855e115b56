"""A series that comes in parts makes one set of results, and no negative answer to a part leaves."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.completion.open_series import Stated, read_stated
from dicom_node.completion.rules import CompleteSeries
from dicom_node.settings.receive import Completion
from pipeline import phantom
from tests.unit.dicom_node.completion.test_monitor import Bench, asked

DEFAULT = Completion()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, policy=DEFAULT)
    yield made
    made.close()


def send_parts(bench: Bench, parts: list[range] | list[tuple[int, ...]], gap: float) -> None:
    """Each part by an association of its own, ``gap`` seconds apart; the clock stands at the last release."""
    for number, part in enumerate(parts, start=1):
        if number > 1:
            turn_to(bench, bench.now + gap)
        bench.send(*part, association=number)
        bench.end(number)
        bench.turn()


def turn_to(bench: Bench, at: float) -> None:
    """Let the loop do what falls due until ``at``, each thing at its time."""
    while bench.now < at:
        wait = bench.monitor.step()
        bench.turn(min(wait if wait is not None else at - bench.now, at - bench.now))


def leaves_at(series: CompleteSeries, policy: Completion = DEFAULT) -> float:
    """When a negative answer to ``series`` would leave at the earliest, seconds of the bench's clock."""
    counted = series.expected is not None and series.expected <= len(series.instances)
    completed = series.completed_at.timestamp()
    return max(completed, completed - series.silence + policy.hold(counted=counted, revision=series.revision))


def test_one_association_for_each_image_makes_one_series(bench: Bench) -> None:
    """24 images six seconds apart: the releases say nothing, one minute of silence does."""
    send_parts(bench, [(number,) for number in range(24)], gap=6)
    last = bench.now
    turn_to(bench, last + 59.9)
    assert not bench.taken
    turn_to(bench, last + 1000)
    (series,) = bench.taken
    assert series.reason == "quiet for 60.0 s (24 instances)"
    assert series.silence == pytest.approx(60)
    assert leaves_at(series) == pytest.approx(last + 120)


@pytest.mark.parametrize("gap", [70, 300])
def test_even_slower_images_make_a_few(bench: Bench, gap: float) -> None:
    """Each time that the series comes back, the wait doubles: not 24 sets of results for 24 images."""
    send_parts(bench, [(number,) for number in range(24)], gap=gap)
    turn_to(bench, bench.now + 1000)
    assert len(bench.taken) <= 5
    assert len(bench.taken[-1].instances) == 24


@pytest.mark.parametrize("interleaved", [False, True])
def test_three_small_parts_make_one_series(bench: Bench, interleaved: bool) -> None:
    """Four of twelve slices are no plausible part, whichever they are."""
    parts = [range(k, 12, 3) if interleaved else range(4 * k, 4 * k + 4) for k in range(3)]
    send_parts(bench, parts, gap=20)
    turn_to(bench, bench.now + 1000)
    assert [len(series.instances) for series in bench.taken] == [12]


def test_a_negative_answer_to_a_large_part_has_not_left_when_the_next_comes(bench: Bench) -> None:
    """A third of 36 looks like a series: it is read, and its answer is still held when the next third comes."""
    send_parts(bench, [range(12), range(12, 24), range(24, 36)], gap=20)
    turn_to(bench, bench.now + 1000)
    assert [(series.revision, len(series.instances)) for series in bench.taken] == [(1, 12), (2, 36)]
    assert leaves_at(bench.taken[0]) == 120
    assert bench.taken[1].reason == "quiet for 120.0 s (36 instances)"


def test_one_association_is_as_quick_as_ever(bench: Bench) -> None:
    """24 slices at once: read three seconds after the release; a negative answer leaves after two minutes."""
    send_parts(bench, [range(24)], gap=0)
    turn_to(bench, 1000)
    (series,) = bench.taken
    assert series.reason == "association released and quiet for 3.0 s (24 instances)"
    assert (series.completed_at.timestamp(), leaves_at(series)) == (3, 120)


def test_parallel_associations_are_judged_together(bench: Bench) -> None:
    """Twenty slices by one, a straggler by another that ends last: the sender has finished."""
    bench.send(*range(20), association=1)
    bench.send(20, association=2)
    bench.end(1)
    bench.end(2)
    turn_to(bench, 1000)
    assert bench.taken[0].reason == "association released and quiet for 3.0 s (21 instances)"


def test_the_same_few_images_again_and_again_are_no_large_part(bench: Bench) -> None:
    """A sender that repeats itself has not sent more."""
    for _ in range(5):
        bench.send(1, 2, 3)
    bench.end()
    turn_to(bench, 1000)
    assert bench.taken[0].reason == "quiet for 60.0 s (3 instances)"


def test_images_that_state_more_wait_for_the_rest(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve of twenty by a released association; the rest comes within the minute. Also over a restart."""
    monkeypatch.setattr("dicom_node.completion.open_series.read_stated", lambda _: Stated(at_least=20))
    send_parts(bench, [range(12)], gap=0)
    bench.close()
    bench.open()
    turn_to(bench, 40)
    assert not bench.taken
    bench.send(*range(12, 20), association=2)
    bench.end(2)
    turn_to(bench, 1000)
    assert [len(series.instances) for series in bench.taken] == [20]


def test_images_that_never_come_are_not_waited_for_for_ever(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence decides; the reading sees for itself that the images state more."""
    monkeypatch.setattr("dicom_node.completion.open_series.read_stated", lambda _: Stated(at_least=20))
    send_parts(bench, [range(12)], gap=0)
    turn_to(bench, 1000)
    assert bench.taken[0].reason == "quiet for 60.0 s (12 instances)"


def test_one_object_of_many_frames_is_a_series(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An enhanced object comes alone, as a rule."""
    monkeypatch.setattr("dicom_node.completion.open_series.read_stated", lambda _: Stated(frames=24))
    send_parts(bench, [(1,)], gap=0)
    turn_to(bench, 1000)
    assert bench.taken[0].reason == "association released and quiet for 3.0 s (1 instances)"


def test_a_count_that_only_echoes_what_was_passed_on_decides_nothing(bench: Bench) -> None:
    """A PACS that receives and forwards image by image counts one, two, three: no set of results for each."""
    asked(bench, lambda: bench.index.count("1.2.3.5"))
    send_parts(bench, [(number,) for number in range(24)], gap=6)
    turn_to(bench, bench.now + 1000)
    (series,) = bench.taken
    assert series.reason == "quiet for 60.0 s (24 instances)"
    assert series.expected is None


def test_a_count_that_runs_ahead_completes_images_that_come_one_by_one(bench: Bench) -> None:
    """The PACS has them all and sends them singly: no minute of silence, and a short hold."""
    asked(bench, lambda: 24)
    send_parts(bench, [(number,) for number in range(24)], gap=6)
    (series,) = bench.taken
    assert series.reason == "expected count 24 reached (C-FIND)"
    assert (series.expected, len(series.instances)) == (24, 24)
    assert leaves_at(series) == bench.now + 30


def test_a_count_is_asked_again_before_it_is_believed(bench: Bench) -> None:
    """What the PACS counted before the last instances came is not what it counts now."""
    counts = iter([12, 36])
    asked(bench, lambda: next(counts))
    bench.send(*range(11))
    bench.turn(3)
    assert not bench.taken
    bench.send(11)
    bench.turn(1)
    assert not bench.taken
    bench.turn(2)
    assert not bench.taken
    record = bench.index.series("1.2.3.5")
    assert record is not None
    assert record.expected == 36


def test_a_series_that_stays_short_of_its_count_says_so(bench: Bench) -> None:
    """The reading knows how many the archive counts."""
    asked(bench, lambda: 24)
    send_parts(bench, [range(12)], gap=0)
    turn_to(bench, 1000)
    assert (bench.taken[0].expected, len(bench.taken[0].instances)) == (24, 12)
    assert leaves_at(bench.taken[0]) == 120


def test_one_instance_is_read_for_what_it_states(tmp_path: Path) -> None:
    """As far as the counts stand; pixels and functional groups are not read, and what is damaged states nothing."""
    (ds,) = phantom.head_phantom(slices=3, matrix=16)[:1]

    def written(name: str, **attributes: object) -> Path:
        for key, value in attributes.items():
            setattr(ds, key, value)
        path = tmp_path / name
        ds.save_as(path, enforce_file_format=True)
        return path

    assert read_stated(written("plain")) == Stated(1, 1)
    assert read_stated(written("stated", ImagesInAcquisition=24)) == Stated(24, 1)
    assert read_stated(written("frames", NumberOfFrames=40)) == Stated(1, 40)
    ds.private_block(0x2001, "Philips Imaging DD 001", create=True).add_new(0x18, "SL", 30)
    assert read_stated(written("private", NumberOfFrames=1)) == Stated(30, 1)
    whole = written("whole").read_bytes()
    (tmp_path / "cut").write_bytes(whole[:700])
    assert read_stated(tmp_path / "cut").frames == 1
    assert read_stated(tmp_path / "absent") == Stated(1, 1)
    (tmp_path / "none").write_bytes(b"no DICOM")
    assert read_stated(tmp_path / "none") == Stated(1, 1)


events = st.lists(
    st.tuples(st.integers(1, 30), st.floats(0.5, 118), st.booleans(), st.booleans()), min_size=1, max_size=5
)


@settings(deadline=None)
@given(parts=events, restart=st.integers(0, 5))
def test_whatever_the_parts_the_last_word_is_of_all(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[int, float, bool, bool]], restart: int
) -> None:
    """Any sizes, pauses below the hold, releases or aborts, in any order, a restart between them.

    The last revision has everything, and no negative answer to an earlier one had left before the next part came.
    """
    bench = Bench(tmp_path_factory.mktemp("parts"), policy=DEFAULT)
    try:
        sent, arrivals = 0, []
        for number, (size, gap, released, backwards) in enumerate(parts, start=1):
            turn_to(bench, bench.now + gap)
            part = range(sent, sent + size)
            bench.send(*(reversed(part) if backwards else part), association=number)
            bench.end(number, released=released)
            bench.turn()
            arrivals.append(bench.now)
            sent += size
            if number == restart:
                bench.close()
                bench.open()
        turn_to(bench, bench.now + 2000)
        assert len(bench.taken[-1].instances) == sent
        assert len(bench.taken) <= 1 + sum(later - earlier >= 3 for earlier, later in pairwise(arrivals))
        for series in bench.taken[:-1]:
            following = next(at for at in arrivals if at > series.completed_at.timestamp() - 1e-6)
            assert leaves_at(series) > following
    finally:
        bench.close()
