"""Sizes and times of settings, with units.

pydantic reads a time with a unit only as ISO 8601 (``PT15M``) or ``HH:MM:SS``, which few administrators write. So
``15min`` and ``2 h`` are read here; ISO 8601 goes to pydantic (ADR 55). A plain number has the unit that the setting
had before units were read: seconds, days or bytes. Sizes are pydantic's own `ByteSize`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Final

from pydantic import BeforeValidator, ByteSize, Field, TypeAdapter, ValidationError

SECONDS: Final = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_TIME: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(ms|s|min|h|d|w)\s*")
_RATE: Final = re.compile(r"\s*/\s*s\s*$")
_ISO: Final = TypeAdapter(timedelta)


def _time_in(unit: float) -> Callable[[object], object]:
    def read(value: object) -> object:
        if not isinstance(value, str):
            return value
        found = _TIME.fullmatch(value)
        if found is not None:
            return float(found[1]) * SECONDS[found[2]] / unit
        try:
            return float(value)  # an environment variable has a plain number as text
        except ValueError:
            pass
        try:
            return _ISO.validate_python(value).total_seconds() / unit
        except ValidationError:
            known = ", ".join(SECONDS)
            raise ValueError(f"{value!r} is not a time: give a number and a unit ({known}), such as 15min") from None

    return read


days_of = _time_in(SECONDS["d"])
"""Reads a time with a unit as days; leaves a number as it is."""


def _rate(value: object) -> object:
    return _RATE.sub("", value) if isinstance(value, str) else value


Seconds = Annotated[float, BeforeValidator(_time_in(1.0)), Field(allow_inf_nan=False)]
"""A time in seconds; a setting gives it with a unit (``"15min"``) or as a number of seconds."""
Days = Annotated[float, BeforeValidator(days_of), Field(allow_inf_nan=False)]
"""A time in days; a setting gives it with a unit (``"2 w"``) or as a number of days."""
Size = ByteSize
"""A size in bytes; a setting gives it with a unit (``"4 GiB"``) or as a number of bytes."""
SizePerSecond = Annotated[ByteSize, BeforeValidator(_rate)]
"""Bytes a second; a setting gives it with a unit (``"1 KiB/s"``) or as a number of bytes."""


def time_text(value: float, unit: float = 1.0) -> str:
    """A time in words, in the largest unit that shows it as a whole number."""
    seconds = value * unit
    for name in ("w", "d", "h", "min", "s"):
        if name != "w" and seconds and seconds % SECONDS[name] == 0:
            return f"{seconds / SECONDS[name]:.15g} {name}"
    return f"{seconds:.15g} s"


def size_text(value: int) -> str:
    """A size in words, in the largest binary unit that shows it as a whole number."""
    for power, name in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if value and value % (1 << power) == 0:
            return f"{value >> power} {name}"
    return f"{value} B"
