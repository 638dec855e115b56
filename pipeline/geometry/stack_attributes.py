"""The attributes in which the headers of one series' stacks differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset

from pipeline.geometry.image_plane import ImagePlane

NUMBER_TOLERANCE = 0.01
"""Share by which two numbers of the same sequence parameter may differ: some scanners write the echo time that each
slice really had. Intended differences of echo times, b-values and inversion times are far larger."""

Value = float | str
"""A header's value for comparison: numbers as numbers, all else as text; an absent one is the empty text."""


@dataclass(frozen=True)
class StackAttribute:
    """One attribute in which headers may differ.

    ``keywords`` are the classic attribute and its counterparts in frames of a multi-frame object, which are read first.
    ``shown``: whether a message may contain its value (no free text).
    """

    keywords: tuple[str, ...]
    read: Callable[[Any], Value]
    shown: bool = True

    @property
    def name(self) -> str:
        return self.keywords[0]

    def value(self, ds: Dataset) -> Value:
        """The value in ``ds``; empty where it is absent."""
        for keyword in reversed(self.keywords):
            value = ds.get(keyword)
            if value is not None and value != "":
                return self.read(value)
        return ""

    def words(self, value: Value) -> str:
        """``value`` in words for a message."""
        if value == "":
            return f"no {self.name}"
        if not self.shown:
            return f"another {self.name}"
        return f"{self.name} {value:g}" if isinstance(value, float) else f"{self.name} {value}"


def _parts(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)


def _text(value: Any) -> str:
    return "/".join(str(part).strip().upper() for part in _parts(value))


def _number(value: Any) -> Value:
    """A number, or several as text of three decimals."""
    parts = _parts(value)
    try:
        return float(parts[0]) if len(parts) == 1 else "/".join(f"{float(part) + 0.0:.3f}" for part in parts)
    except (TypeError, ValueError):
        return _text(value)


def _image_type(value: Any) -> str:
    """Image Type from its third value on (PS3.3 C.7.6.1.1.2): the first two describe processing, not contrast."""
    return "/".join(str(part).strip().upper() for part in _parts(value)[2:])


def _within(keyword: str, read: Callable[[Any], Value]) -> Callable[[Any], Value]:
    """``read`` for ``keyword`` in the first item of a sequence, as frames of multi-frame objects have it."""

    def nested(sequence: Any) -> Value:
        value = next((item.get(keyword) for item in _parts(sequence)[:1]), None)
        return "" if value is None else read(value)

    return nested


CONTRAST = (
    StackAttribute(("StackID",), _text),
    StackAttribute(("ImageType", "FrameType"), _image_type),
    StackAttribute(("ComplexImageComponent",), _text),
    StackAttribute(("EchoTime", "EffectiveEchoTime"), _number),
    StackAttribute(("EchoNumbers",), _number),
    StackAttribute(("InversionTime", "InversionTimes"), _number),
    StackAttribute(("FlipAngle",), _number),
    StackAttribute(("DiffusionBValue",), _number),
    StackAttribute(("DiffusionGradientOrientation",), _number),
    StackAttribute(("DiffusionGradientDirectionSequence",), _within("DiffusionGradientOrientation", _number)),
    StackAttribute(("VelocityEncodingDirection",), _number),
    StackAttribute(("ASLContext",), _text),
    StackAttribute(("MRArterialSpinLabelingSequence",), _within("ASLContext", _text)),
    StackAttribute(("ConvolutionKernel",), _text),
    StackAttribute(("NominalPercentageOfCardiacPhase",), _number),
    StackAttribute(("ScanningSequence",), _text),
    StackAttribute(("SequenceName", "PulseSequenceName"), _text, shown=False),
    StackAttribute(("ContrastBolusAgent",), _text, shown=False),
)
"""Slices that differ in one of these show different things and never make one volume."""

REPETITION = (
    StackAttribute(("TemporalPositionIdentifier", "TemporalPositionIndex"), _number),
    StackAttribute(("AcquisitionNumber", "FrameAcquisitionNumber"), _number),
    StackAttribute(("TriggerTime", "NominalCardiacTriggerDelayTime"), _number),
    StackAttribute(("TemporalPositionTimeOffset",), _number),
    StackAttribute(("ImageType", "FrameType"), _text),
    StackAttribute(("AcquisitionDateTime", "FrameAcquisitionDateTime"), _text, shown=False),
    StackAttribute(("AcquisitionTime",), _text, shown=False),
    StackAttribute(("ContentTime",), _text, shown=False),
)
"""Compared in this order where positions repeat, and only there: within one stack they
may differ from slice to slice (GE numbers acquisitions by slice). Clock times come last."""


def values_of(attribute: StackAttribute, planes: Sequence[ImagePlane]) -> list[Value]:
    """The value of each plane; a number within `NUMBER_TOLERANCE` of the next smaller one is replaced by that."""
    raw = [attribute.value(plane.ds) for plane in planes]
    same: dict[Value, Value] = {}
    start = last = 0.0
    for index, number in enumerate(sorted({value for value in raw if isinstance(value, float)})):
        if index == 0 or number - last > NUMBER_TOLERANCE * max(abs(number), abs(last)):
            start = number
        same[number] = start
        last = number
    return [same.get(value, value) for value in raw]
