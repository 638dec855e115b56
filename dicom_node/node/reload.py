"""Reloads changed settings or certificates without a restart: on SIGHUP, or when a file changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

from dicom_node.settings.tree import DEFAULT_FILE, Settings, load
from pipeline.errors import BadSettings

log = structlog.get_logger("candela.reload")

LOOK_EVERY = 2.0
"""Seconds between two checks of the files."""

Apply = Callable[[Settings], None]
"""Applies the settings; raises BadSettings, without any change, where they cannot be used."""


class Reloader:
    """Watches the settings file and the certificates between `start` and `stop`.

    ``apply`` is called with settings that are valid as a whole. Unusable settings are logged, and the former stay in
    force. A changed file is read once it stays as it is for ``every`` seconds: an editor may empty it before it writes,
    and half of a file may be valid.
    """

    def __init__(self, path: Path | None, settings: Settings, apply: Apply, *, every: float = LOOK_EVERY) -> None:
        self._path = path
        self._settings = settings
        self._apply = apply
        self._every = every
        self._seen = self._state()
        self._wake = threading.Event()
        self._asked = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reload", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()

    def ask(self) -> None:
        """Reload now, changed or not; may be called by a signal handler."""
        self._asked.set()
        self._wake.set()

    def _run(self) -> None:
        before = self._seen
        while not self._stopping.is_set():
            self._wake.wait(self._every)
            self._wake.clear()
            state = self._state()
            settled, before = state == before, state
            changed = state != self._seen and settled
            if self._stopping.is_set() or not (changed or self._asked.is_set()):
                continue
            self._asked.clear()
            self._seen = state
            self.reload()

    def reload(self) -> bool:
        """Read and apply the settings; False where they cannot be used."""
        try:
            settings = load(self._path)
            self._apply(settings)
        except BadSettings as error:
            log.error("settings_not_reloaded", reason=str(error))  # noqa: TRY400  (the error says it)
            return False
        restart = _changed(self._settings, settings)
        self._settings = settings
        self._seen = self._state()
        log.info("settings_reloaded", restart_needed_for=",".join(restart) or "nothing")
        return True

    def _state(self) -> tuple[tuple[str, int, int, int], ...]:
        """The identity of the files by their metadata; None for a missing one."""
        return tuple(_look(path) for path in self._files())

    def _files(self) -> Iterable[Path]:
        yield self._path or DEFAULT_FILE
        identity = self._settings.tls
        if identity is not None:
            yield from (identity.certificate, identity.key, identity.trusted)


def _look(path: Path) -> tuple[str, int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return str(path), 0, 0, 0
    return str(path), found.st_ino, found.st_mtime_ns, found.st_size


def _changed(before: Settings, after: Settings) -> list[str]:
    """The changed groups of settings that are read only at the start."""
    live = {"tls", "peers"}
    groups = [name for name in type(after).model_fields if name not in live]
    changed = [name for name in groups if name != "receive" and getattr(before, name) != getattr(after, name)]
    fixed = {"allow", "accept_any_peer", "limits", "private_storage_classes"}
    names = [name for name in type(after.receive).model_fields if name not in fixed]
    return changed + [f"receive.{n}" for n in names if getattr(before.receive, n) != getattr(after.receive, n)]
