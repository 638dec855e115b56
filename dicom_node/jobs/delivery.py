"""The input of a delivery workflow: one result of a job, for one destination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dicom_node.jobs.job import SeriesJob
from dicom_node.jobs.outcome import ResultRef


@dataclass(frozen=True)
class DeliveryJob:
    """JSON-ready input of a delivery workflow.

    ``provisional``: a result that must not be sent where the series has grown since (`dicom_node.jobs.holding`).
    """

    job: SeriesJob
    result: ResultRef
    destination: str
    provisional: bool = False

    def to_dict(self) -> dict[str, Any]:
        return {"job": self.job.to_dict(), "result": self.result.to_dict(), "destination": self.destination} | (
            {"provisional": True} if self.provisional else {}
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> DeliveryJob:
        return cls(
            SeriesJob.from_dict(data["job"]),
            ResultRef.from_dict(data["result"]),
            data["destination"],
            provisional=bool(data.get("provisional", False)),
        )
