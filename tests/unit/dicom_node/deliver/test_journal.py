"""What a PACS took of the results in one folder, noted by several deliveries at once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from dicom_node.deliver.journal import Journal

PEER = "PACS at 127.0.0.1:104"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Two results of a series, by SOP Instance UID."""
    paths = {"1.2.1": tmp_path / "report.dcm", "1.2.2": tmp_path / "overlay.dcm"}
    for name, path in paths.items():
        path.write_bytes(name.encode())
    return paths


def test_one_delivery_forgets_and_the_other_keeps_what_it_noted(tmp_path: Path, files: dict[str, Path]) -> None:
    """Two results on their way to one PACS: what one of them was told is lost neither takes the other's lines away nor
    comes back by them.
    """
    first, second = Journal(tmp_path, PEER), Journal(tmp_path, PEER)
    first.note("1.2.1", files["1.2.1"])
    second.note("1.2.2", files["1.2.2"])
    first.forget(["1.2.1"])
    after = Journal(tmp_path, PEER)
    assert not after.has("1.2.1", files["1.2.1"])
    assert after.has("1.2.2", files["1.2.2"])
    stale = Journal(tmp_path, PEER)
    after.note("1.2.1", files["1.2.1"])
    after.forget(["1.2.1"])
    stale.forget(["1.2.2"])
    last = Journal(tmp_path, PEER)
    assert not any(last.has(name, path) for name, path in files.items())


def test_what_was_forgotten_may_be_taken_again(tmp_path: Path, files: dict[str, Path]) -> None:
    """The last line counts; forgetting what was never noted writes nothing."""
    journal = Journal(tmp_path, PEER)
    journal.forget(["1.2.1"])
    assert list(tmp_path.rglob("*.jsonl")) == []
    for _ in range(3):
        journal.note("1.2.1", files["1.2.1"])
        journal.forget(["1.2.1"])
        assert not Journal(tmp_path, PEER).has("1.2.1", files["1.2.1"])
    journal.note("1.2.1", files["1.2.1"])
    assert Journal(tmp_path, PEER).has("1.2.1", files["1.2.1"])


def test_many_at_once(tmp_path: Path) -> None:
    """Eight deliveries that note and forget at once: each finds its own last word, and none stumbles over another."""
    paths = [tmp_path / f"{k}.dcm" for k in range(8)]
    errors: list[BaseException] = []

    def deliver(k: int) -> None:
        try:
            for _ in range(25):
                journal = Journal(tmp_path, PEER)
                journal.note(f"1.2.{k}", paths[k])
                journal.forget([f"1.2.{k}"])
            if k % 2:
                journal.note(f"1.2.{k}", paths[k])
        except BaseException as error:  # noqa: BLE001 - told below, in the test's own thread
            errors.append(error)

    for path in paths:
        path.write_bytes(path.name.encode())
    threads = [threading.Thread(target=deliver, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    told = Journal(tmp_path, PEER)
    assert [told.has(f"1.2.{k}", path) for k, path in enumerate(paths)] == [bool(k % 2) for k in range(8)]


def test_a_peer_with_a_long_url_has_a_journal_of_its_own(tmp_path: Path) -> None:
    """A file's name takes 255 bytes, and each `/` of a URL three."""
    path = tmp_path / "1.dcm"
    path.write_bytes(b"bytes")
    peers = [f"https://pacs.example/{'dicom-web/' * 30}{number}" for number in (1, 2)]
    Journal(tmp_path, peers[0]).note("1.2.3", path)
    assert [Journal(tmp_path, peer).has("1.2.3", path) for peer in peers] == [True, False]
