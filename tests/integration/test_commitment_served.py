"""Storage commitment through `candela serve`: a result counts as delivered when the PACS says that it keeps it."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dicom_node.jobs.status import DeliveryState, JobDetail, JobState
from pipeline import phantom
from tests.chaos.installation import Installation
from tests.peers.commitment import CommittingPacs
from tests.peers.receiver import send
from tests.peers.settings_text import address

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def deliveries(house: Installation, series_instance_uid: str) -> dict[str, list[str]]:
    """The states of a series's deliveries by destination; nothing where it has not been read."""
    found: dict[str, list[str]] = {}
    for job in house.jobs():
        if job.job.series_instance_uid == series_instance_uid and job.result is not None:
            for row in job.deliveries:
                found.setdefault(row.destination, []).append(row.state)
    return found


def send_all(house: Installation, datasets: tuple[Dataset, ...]) -> None:
    """As a modality does: again, where an answer did not come in time."""
    for _ in range(10):
        with contextlib.suppress(AssertionError, AttributeError):  # no association; an answer without a status
            if set(send(house.port, datasets)) == {0}:
                return
        time.sleep(1)
    pytest.fail("the node does not take the series")


def job_of(house: Installation, series_instance_uid: str) -> JobDetail:
    return next(job for job in house.jobs() if job.job.series_instance_uid == series_instance_uid)


@pytest.mark.nightly
def test_a_delivery_ends_with_the_report_and_what_a_report_lacks_is_sent_again(tmp_path: Path) -> None:
    """One real node. First the PACS keeps silent: nothing counts, though all was stored; its report ends it.

    Then it reports that it lost an instance of each result: those alone come again, and the next report ends it.
    """
    first, second = (
        phantom.head_phantom(slices=4, matrix=64, header=phantom.Header(key=f"commitment served/{name}"))
        for name in ("silent", "forgetful")
    )
    with CommittingPacs(how="never").running() as pacs:
        vault = {"kind": "dicom", "peer": address(pacs.port), "timeout": 20.0}
        extra = {"vault": {**vault, "commitment": True, "commitment_timeout": 600.0}}
        house = Installation(tmp_path, postgres=None, fhir=None, extra=extra, peers=("PACS",))
        house.prepare()
        with house:
            pacs.node_port = house.port
            series = str(first[0].SeriesInstanceUID)
            send_all(house, first)
            # Two are sent to one destination at a time: both wait for their report.
            house.until(lambda: len(pacs.asked) == 2, 1200, "the PACS is asked for commitment")
            house.until(
                lambda: set(deliveries(house, series).get("archive", ())) == {DeliveryState.DELIVERED},
                600, "the folder has all",
            )  # fmt: skip
            assert len(pacs.stored) >= 2
            assert DeliveryState.DELIVERED not in deliveries(house, series)["vault"]
            assert job_of(house, series).state is not JobState.DONE
            pacs.how = "new"
            for request in list(pacs.asked):
                assert pacs.report(request) == 0x0000
            house.until(lambda: house.drained({series}), 600, "the reports came")
            done = job_of(house, series)
            assert done.state is JobState.DONE
            receipts = [row.receipt for row in done.deliveries if row.destination == "vault"]
            assert all(receipt and receipt.endswith("committed") for receipt in receipts)
            assert set(Counter(pacs.stored).values()) == {1}

            pacs.stored.clear()
            pacs.forgetful = True
            send_all(house, second)
            both = {series, str(second[0].SeriesInstanceUID)}
            house.until(lambda: house.drained(both), 1200, "what was lost came again")
            after = job_of(house, str(second[0].SeriesInstanceUID))
            rows = [row for row in after.deliveries if row.destination == "vault"]
            assert after.state is JobState.DONE
            assert {row.tries.attempts for row in rows} == {2}
            times = Counter(pacs.stored)
            assert pacs.forgotten
            assert all(times[name] == (2 if name in pacs.forgotten else 1) for name in times)
            assert len(pacs.forgotten) == len(rows)
