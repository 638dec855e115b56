"""Starting a process quickly, and ending it with its parent."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

PR_SET_PDEATHSIG: Final = 1


@contextmanager
def without_collection() -> Iterator[None]:
    """Import with the garbage collector off.

    The modules of an inference worker make a million objects, which live as long as the process: to search them for
    garbage again and again takes a third of the import. A process of the node calls `gc.freeze` afterwards, so that
    later searches leave them out as well.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def dying_with(parent: int) -> Callable[[], None] | None:
    """The function that a new process calls, before its command or itself, so that it dies with the thread
    of ``parent`` that started it; None outside Linux.
    """
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)

    def prepare() -> None:
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != parent:  # the parent died between fork and prctl
            os.kill(os.getpid(), signal.SIGKILL)

    return prepare
