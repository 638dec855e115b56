"""Settings of the jobs that read series, and of the models that they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import ByteSize, Field

from dicom_node.settings.base import Section
from dicom_node.settings.quantities import Seconds, Size


class Jobs(Section):
    """The durable engine. ``circuit_*``: see `dicom_node.jobs.circuits`."""

    database_url: str | None = None
    """URL of the database. Several machines need `postgresql://user@host/database`."""
    tries: Annotated[int, Field(ge=1, le=100)] = 8
    """Maximum number of attempts to read a series; then it is a dead letter."""
    delivery_tries: Annotated[int, Field(ge=1, le=100)] = 24
    """Maximum number of attempts to send a result, about fifteen hours with these pauses; then it is a dead letter. A
    result behind an open circuit uses up none."""
    reading_timeout: Annotated[Seconds, Field(gt=0)] = 1800.0
    """Maximum time to read one series; then its worker is ended. A series that ends five workers is a dead letter."""
    circuit_failures: Annotated[int, Field(ge=1)] = 5
    """Number of consecutive failures to reach a destination after which its circuit opens: the node tries nothing, and
    results wait."""
    circuit_first: Annotated[Seconds, Field(gt=0)] = 30.0
    """Time for which a circuit is open before one delivery is tried. It doubles with each failure."""
    circuit_most: Annotated[Seconds, Field(gt=0)] = 300.0
    """Maximum time for which a circuit is open."""
    backoff_first: Annotated[Seconds, Field(gt=0)] = 5.0
    """Time before the second attempt. It doubles with each further one, with up to a quarter of jitter."""
    backoff_most: Annotated[Seconds, Field(gt=0)] = 3600.0
    """Maximum time between two attempts."""
    poll_interval: Annotated[Seconds, Field(gt=0)] = 0.5
    """Interval at which a worker polls its queue."""
    dead_worker_grace: Annotated[Seconds, Field(gt=0)] = 20.0
    """PostgreSQL: time after which other workers take over the jobs of a worker that died. On SQLite they do so at
    once."""


class Models(Section):
    """Which models there are, and where torch runs."""

    folders: tuple[Path, ...] = ()
    """Folders with further MONAI bundles."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` (CUDA if torch finds it), `cpu` or `cuda`."""
    time_limit: Annotated[Seconds, Field(gt=0)] = 3600.0
    """Maximum time that a MONAI bundle may take to load, or to read one series."""
    memory: Annotated[Size, Field(ge=1)] = ByteSize(4 << 30)
    """Size of the weights that a worker keeps in memory. Beyond it the model that was used longest ago leaves, and is
    loaded again when it is needed. A run takes memory beside the weights."""
