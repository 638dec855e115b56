"""Looks for a radiologist's final report of the order, and then closes the draft at the FHIR server
(docs/adr/0069-a-draft-ends.md).

The look is a delivery of its own that is tried again after `final_report_every`, so that it survives restarts and holds
nothing up.
"""

from __future__ import annotations

import math
from dataclasses import replace

from dicom_node.jobs.delivery import DeliveryJob
from dicom_node.jobs.outcome import ASSESSMENT, CLOSING, WITHDRAWALS
from dicom_node.settings.destinations import FhirDestination
from dicom_node.settings.tree import Settings

GIVEN_UP = "no final report of the order was found in time: the draft stays preliminary"


def closing_of(item: DeliveryJob, settings: Settings) -> tuple[DeliveryJob, float, int] | None:
    """What follows the delivery ``item`` of a report: the look for a final one, the seconds until it is first due, and
    how often it is tried. None where nothing does.
    """
    target = settings.destinations.get(item.destination)
    if not isinstance(target, FhirDestination) or target.final_report_every is None:
        return None
    if item.result.kind != "fhir" or item.result.name in {*WITHDRAWALS, CLOSING}:
        return None
    if item.result.name.startswith(ASSESSMENT):  # a reader made it: it is no draft
        return None
    every = target.final_report_every
    look = DeliveryJob(item.job, replace(item.result, name=CLOSING), item.destination)
    return look, every, math.ceil(target.final_report_most / every)
