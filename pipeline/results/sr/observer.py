"""The observer of structured reports: the algorithm as a device."""

from __future__ import annotations

import highdicom as hd

from pipeline.findings import codes
from pipeline.results.provenance import ResultContext
from pipeline.results.seg.segmentation import coded
from pipeline.results.wording import ascii_text


def observer_context(context: ResultContext) -> hd.sr.ObserverContext:
    """TID 1002: the observer is a device, the algorithm (TID 1004)."""
    model = context.findings.model
    return hd.sr.ObserverContext(
        observer_type=coded(codes.DEVICE),
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=context.run.device_uid,
            name=ascii_text(model.name),
            manufacturer_name=ascii_text(model.manufacturer),
            model_name=ascii_text(model.title),
            serial_number=model.digest[:16],
        ),
    )


def algorithm(context: ResultContext) -> hd.sr.AlgorithmIdentification:
    """TID 4019."""
    model = context.findings.model
    return hd.sr.AlgorithmIdentification(
        name=ascii_text(model.name),
        version=ascii_text(model.version),
        parameters=[ascii_text(item) for item in (*model.parameters, f"digest={model.digest}")],
        family=coded(codes.ARTIFICIAL_INTELLIGENCE),
        manufacturer=ascii_text(model.manufacturer),
    )
