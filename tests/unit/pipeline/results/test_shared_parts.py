"""`finish` changes the parts of what a builder made: none may be a part of another result, or of the source."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from pipeline.findings.model import Outcome
from pipeline.results.build import build
from tests.conformance.synthetic import EVERYTHING, phantom_context

WANTED = {"made": EVERYTHING}


def parts(ds: Dataset) -> Iterator[Dataset | DataElement]:
    """``ds``, its elements and items at any depth, without codes: highdicom hands out the same one to everybody."""
    if "CodeValue" in ds:
        return
    yield ds
    for element in ds:
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from parts(item)


@pytest.mark.parametrize("outcome", [Outcome.FINDING, Outcome.NO_FINDING])
def test_no_result_holds_a_part_of_another_one_or_of_the_source(outcome: Outcome) -> None:
    context = phantom_context(outcome=outcome, slices=4, matrix=32)
    results = [item.dataset for item in (*build(context, WANTED), *build(context, WANTED))]
    sources = (*context.references, *context.instances, *context.volume.sources, context.volume.identity)
    owned = {id(part) for ds in sources for part in parts(ds)}
    for ds in results:
        mine = {id(part) for part in parts(ds)}
        assert not mine & owned
        owned |= mine
