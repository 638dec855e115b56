"""A rejection note as a PACS or a modality makes it (IHE RAD, Imaging Object Change Management)."""

from __future__ import annotations

from collections.abc import Sequence

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from pipeline.findings.identity import derived_uid


def rejection_note(images: Sequence[Dataset], title: str = "RejectedForQualityReasons", key: str = "1") -> Dataset:
    """A note that rejects ``images``, of the title with this keyword in pydicom's CID 7010."""
    person = hd.sr.PersonObserverIdentifyingAttributes(name="Tester^Quality")
    made: Dataset = hd.ko.KeyObjectSelectionDocument(
        evidence=images,
        content=hd.ko.KeyObjectSelection(
            document_title=getattr(codes.cid7010, title),
            referenced_objects=images,
            observer_person_context=hd.sr.ObserverContext(codes.DCM.Person, person),
        ),
        series_instance_uid=derived_uid("note series", key, str(images[0].SeriesInstanceUID)),
        series_number=99,
        sop_instance_uid=derived_uid("note", key, str(images[0].SeriesInstanceUID)),
        instance_number=1,
        manufacturer="Other",
    )
    return made
