"""Starting a process quickly."""

from __future__ import annotations

import gc

import pytest

from dicom_node.start_up import without_collection


def test_the_collector_is_off_during_imports_and_on_afterwards() -> None:
    with without_collection():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_an_import_that_fails_leaves_the_collector_on() -> None:
    with pytest.raises(ImportError), without_collection():
        raise ImportError
    assert gc.isenabled()
