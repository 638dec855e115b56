"""What a bundle's code may do while it runs: read and compute.

A bundle is Python code and runs in the worker's process. It is loaded and run in a thread of its own, which is held
twice:

- Landlock, where the kernel has it (`models.workflow.confined.landlock`): no file is changed and no TCP connection
  made, by native code neither, nor by threads that the bundle starts. A bundle that swallows the error is not noticed.
- An audit hook (PEP 578) of that thread: sockets of every kind, other processes, and every change of a file by Python
  code. What is denied ends the run as BAD_MODEL, even where the bundle swallows the error.

This catches bundles that save results, write caches, fetch weights or report home. It is no sandbox: reading is not
held, and Python code can reach into the rest of the process. What holds a hostile bundle is the worker's account
(ADR 60).
"""

from __future__ import annotations

import ctypes
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from models.workflow.confined.landlock import restrict_this_thread
from pipeline.errors import BadModel
from pipeline.ports import Progress

Result = TypeVar("Result")

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = frozenset(
    f"os.{name}"
    for name in [
        "remove",
        "rename",
        "rmdir",
        "mkdir",
        "link",
        "symlink",
        "truncate",
        "chmod",
        "chown",
        "lchmod",
        "lchown",
        "utime",
        "setxattr",
        "removexattr",
    ]
) | {"shutil.copyfile", "shutil.move", "shutil.rmtree", "tempfile.mkstemp", "tempfile.mkdtemp", "sqlite3.connect"}
PROCESSES = ("os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.kill", "pty.spawn")
THREADS = ("_thread.start_new_thread", "_thread.start_joinable_thread")
NETWORK = ("socket.", "urllib.", "http.client.", "ftplib.", "smtplib.")

GRACE = 5.0
"""Seconds that a bundle that was stopped has to end."""
_threads: dict[int, Guard] = {}
"""The guard of each thread that runs a bundle now, by thread identifier."""
_installed = threading.Lock()


class Denied(PermissionError):
    """Raised in the bundle's code. An OSError: libraries that can do without, such as caches, go on."""


def _nothing(_stage: str) -> None:
    """Progress that nobody follows."""


class Guard:
    """What one bundle tried and was denied; ``denied`` is the first of it, in words."""

    def __init__(self) -> None:
        self.denied: str | None = None

    def look(self, event: str, args: tuple[Any, ...]) -> None:
        """Deny ``event`` where no inference needs it; raises `Denied`."""
        what = _denied(event, args)
        if what is not None:
            self.denied = self.denied or what
            raise Denied(f"a bundle may not {what} (docs/bundles.md)")


def run_guarded(
    work: Callable[[Progress], Result], where: str, progress: Progress = _nothing, limit: float | None = None
) -> Result:
    """What ``work`` gives. It runs in a thread of its own that may read and compute, and is waited for.

    ``work`` gets a function to tell its stages with; ``progress`` hears of them in the caller's thread.
    ``where`` names the bundle. ``limit`` is the time in seconds after which it is stopped; None waits for ever.

    Raises
    ------
    BadModel
        where the bundle's code tried what it may not, or did not end within ``limit``.
    Exception
        what ``work`` raised.
    """
    mailbox: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    def body() -> None:
        try:
            restrict_this_thread()
            with _guarded(where):
                found = work(lambda stage: mailbox.put(("stage", stage)))
            mailbox.put(("result", found))
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            mailbox.put(("error", error if isinstance(error, Exception) else _ended(error, where)))

    thread = threading.Thread(target=body, name="bundle", daemon=True)
    thread.start()
    deadline = None if limit is None else time.monotonic() + limit
    while True:
        try:
            kind, value = mailbox.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            _stop(thread)
            raise BadModel(
                f"The bundle did not end within {limit:g} s.",
                where=where,
                todo="Raise models.time_limit where it needs longer, or ask the bundle's publisher.",
            ) from None
        if kind == "stage":
            progress(value)
            continue
        thread.join()
        if kind == "error":
            raise value
        result: Result = value
        return result


def _stop(thread: threading.Thread) -> None:
    """End ``thread`` at its next Python instruction. Native code that never returns goes on until the process ends."""
    if thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
    thread.join(GRACE)


@contextmanager
def _guarded(where: str) -> Iterator[None]:
    """Hold this thread, while the block runs, to what a bundle may do; BadModel where something was denied."""
    _install()
    guard = Guard()
    thread = threading.get_ident()
    _threads[thread] = guard
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    except Exception as error:
        if guard.denied is None:
            raise
        raise _refusal(guard.denied, where) from error
    finally:
        del _threads[thread]
        sys.dont_write_bytecode = written
    if guard.denied is not None:
        raise _refusal(guard.denied, where)


def _ended(error: BaseException, where: str) -> BadModel:
    """For code that calls ``sys.exit``: a script that is made to be run, not imported."""
    return BadModel(
        f"The bundle's code ended the program ({type(error).__name__}).",
        where=where,
        todo="Name modules in the configuration that can be imported without running.",
    )


def _refusal(what: str, where: str) -> BadModel:
    return BadModel(
        f"The bundle's code tried to {what}.",
        where=where,
        todo="A bundle may read and compute. Take it out of the bundle's configuration or scripts: docs/bundles.md.",
    )


_hooked = False


def _install() -> None:
    """Add the audit hook once: Python has no way to take one away."""
    global _hooked  # noqa: PLW0603 - one a process
    with _installed:
        if not _hooked:
            sys.addaudithook(_hook)
            _hooked = True


def _hook(event: str, args: tuple[Any, ...]) -> None:
    guard = _threads.get(threading.get_ident())
    if guard is not None:
        guard.look(event, args)


def _denied(event: str, args: tuple[Any, ...]) -> str | None:
    """What ``event`` is, in words, where it is denied."""
    if event == "open":
        return _opened(args)
    if event.startswith(NETWORK) and event != "socket.gethostname":
        return "use the network"
    if event in CHANGES:
        return "change files"
    if event == "subprocess.Popen" or event in PROCESSES:
        return "start or signal a process"
    return "start a thread" if event in THREADS else None


def _opened(args: tuple[Any, ...]) -> str | None:
    path, mode, flags = (*args, None, None, None)[:3]
    writes = bool(isinstance(flags, int) and flags & WRITES) or bool(isinstance(mode, str) and set(mode) & set("wax+"))
    return "write a file" if writes and path != os.devnull else None
