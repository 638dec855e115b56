"""Settings that change while the node runs: a file that is being written is not read."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dicom_node.node.reload import Reloader
from dicom_node.settings.tree import Settings, load

EVERY = 0.1


@contextmanager
def reloading(path: Path, applied: list[str]) -> Iterator[Reloader]:
    """A reloader of ``path`` that records the AE title of each settings that it applies."""
    reloader = Reloader(path, load(path), lambda settings: applied.append(_title(settings)), every=EVERY)
    reloader.start()
    try:
        yield reloader
    finally:
        reloader.stop()


def _title(settings: Settings) -> str:
    return settings.receive.ae_title


def _until(applied: list[str], title: str) -> None:
    deadline = time.monotonic() + 20
    while applied[-1:] != [title]:
        assert time.monotonic() < deadline, applied
        time.sleep(0.02)


def _write(path: Path, title: str) -> None:
    path.write_text(f'[receive]\nae_title = "{title}"\n')


def test_a_changed_file_is_applied_once(tmp_path: Path) -> None:
    path, applied = tmp_path / "candela.toml", list[str]()
    _write(path, "ONE")
    with reloading(path, applied):
        _write(path, "TWO")
        _until(applied, "TWO")
        time.sleep(3 * EVERY)
    assert applied == ["TWO"]


def test_a_file_that_is_still_being_written_is_not_read(tmp_path: Path) -> None:
    """It is emptied, and grows at every look: each state is valid by itself, and none of them is meant."""
    path, applied = tmp_path / "candela.toml", list[str]()
    _write(path, "ONE")
    with reloading(path, applied):
        path.write_text("")
        ends = time.monotonic() + 8 * EVERY
        while time.monotonic() < ends:
            with path.open("a") as file:
                file.write("# more to come\n")
            time.sleep(EVERY / 10)
        assert applied == []
        _write(path, "TWO")
        _until(applied, "TWO")
    assert applied == ["TWO"]


def test_an_operator_who_asks_does_not_wait(tmp_path: Path) -> None:
    """SIGHUP reads the file as it is."""
    path, applied = tmp_path / "candela.toml", list[str]()
    _write(path, "ONE")
    done = threading.Event()
    reloader = Reloader(path, load(path), lambda settings: (applied.append(_title(settings)), done.set())[0], every=60)
    reloader.start()
    try:
        _write(path, "TWO")
        reloader.ask()
        assert done.wait(20)
    finally:
        reloader.stop()
    assert applied == ["TWO"]
