"""Starting a process quickly."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


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
