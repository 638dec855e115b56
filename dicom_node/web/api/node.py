"""The node itself: health, statistics, live events, the routing dry run, accounts and tokens."""

from __future__ import annotations

import io
import time
from datetime import UTC, datetime
from typing import Annotated

import pydicom
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydicom.errors import InvalidDicomError
from starlette.concurrency import run_in_threadpool

from dicom_node.jobs import status
from dicom_node.jobs.engine import DELIVERY_WORKFLOW
from dicom_node.web.api.problems import Problem
from dicom_node.web.api.schemas import (
    AccountView,
    Done,
    DryRun,
    Interval,
    RuleCheck,
    RuleVerdict,
    Statistics,
    TokenView,
    Who,
)
from dicom_node.web.auth.gate import Administers, Here, Operates, Reads
from dicom_node.web.context import Context
from pipeline.errors import NotDicom
from pipeline.reading.files import UNREADABLE
from pipeline.routing.rules import Verdict, judge
from pipeline.routing.series_attributes import describe

router = APIRouter()
health = APIRouter(tags=["health"])


@health.get("/health/live")
def live() -> Done:
    """The process answers. Needs no login."""
    return Done(text="live")


@health.get("/health/ready", responses={503: {"description": "The engine's database or the index does not answer."}})
def ready(here: Here) -> Done:
    """The engine's database and the index answer. Needs no login, and says no more."""
    here.jobs.destinations()
    here.studies.count()
    return Done(text="ready")


@router.get("/me", tags=["access"])
def me(who: Reads) -> Who:
    """The account or token of this request, and what it may do."""
    return Who(name=who.name, kind=who.kind, scopes=tuple(sorted(who.scopes)))


@router.get("/accounts", tags=["access"])
def accounts(here: Here, _: Administers) -> list[AccountView]:
    """The accounts. `candela web users` changes them."""
    return [AccountView(name=item.name, role=item.role, created=item.created) for item in here.accounts.accounts()]


@router.get("/tokens", tags=["access"])
def tokens(here: Here, _: Administers) -> list[TokenView]:
    """The API tokens. `candela web tokens` makes them."""
    return [
        TokenView(name=item.name, scopes=item.scopes, created=item.created, expires=item.expires)
        for item in here.accounts.tokens()
    ]


@router.delete("/tokens/{name}", tags=["access"])
def revoke(here: Here, who: Administers, name: str) -> Done:
    """Revoke an API token at once."""
    if name not in {item.name for item in here.accounts.tokens()}:
        raise Problem(404, "There is no such token.", code="NO_SUCH_TOKEN")
    here.seen.did(who, "token revoked")
    here.accounts.revoke_token(name)
    return Done(text=f"Token {name} is revoked.")


@router.get("/statistics", tags=["node"])
def statistics(here: Here, _: Reads, hours: Annotated[int, Query(ge=1, le=24 * 31)] = 24) -> Statistics:
    """Numbers of the present, and of the work that began in each of at most 48 intervals of the last hours."""
    return statistics_of(here, hours)


def statistics_of(here: Context, hours: int) -> Statistics:
    """See `statistics`."""
    step = max(1, round(hours / 48)) * 3_600_000
    since = round(time.time() * 1000) - hours * 3_600_000
    found: dict[int, dict[str, int]] = {}
    for begin, workflow, state, count in here.jobs.lookup.counts(since - since % step, step):
        numbers = found.setdefault(begin, {"series": 0, "deliveries": 0, "failed": 0})
        numbers["deliveries" if workflow == DELIVERY_WORKFLOW else "series"] += count
        numbers["failed"] += count if state in status.DEAD else 0
    rows = here.jobs.destinations()
    return Statistics(
        series_stored=here.studies.count(),
        waiting=sum(row.waiting + row.sending for row in rows),
        failed=sum(detail.dead_letters > 0 for detail in here.jobs.several(here.jobs.lookup.with_status(status.DEAD))),
        hours=hours,
        intervals=tuple(
            Interval(begin=datetime.fromtimestamp(begin / 1000, UTC), **numbers) for begin, numbers in found.items()
        ),
    )


@router.get("/events", tags=["node"], response_class=Response, responses={200: {"content": {"text/event-stream": {}}}})
def events(here: Here, _: Reads) -> StreamingResponse:
    """Server-sent events: `changed` whenever series, jobs or deliveries change. It holds no data: ask for what you
    show. A stream ends after ten minutes; browsers open another.
    """
    if here.live.full:
        raise Problem(503, "Too many streams are open.", code="BUSY", headers={"Retry-After": "30"})
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(here.live.events(), media_type="text/event-stream", headers=headers)


@router.post(
    "/routing/dry-run",
    tags=["node"],
    openapi_extra={"requestBody": {"required": True, "content": {"application/dicom": {}}}},
)
async def dry_run(
    request: Request,
    here: Here,
    _: Operates,
    calling_ae: Annotated[str, Query(max_length=16)] = "",
    instances: Annotated[int, Query(ge=1, le=1_000_000, description="Instances of the series.")] = 1,
) -> DryRun:
    """What the routing rules make of the series of this DICOM file (its header suffices, at most 8 MiB). The file is
    not kept.
    """
    data = await request.body()
    return await run_in_threadpool(_judged, here, data, calling_ae, instances)


def _judged(here: Context, data: bytes, calling_ae: str, instances: int) -> DryRun:
    try:
        header = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
        attributes = describe(
            header, instances=instances, calling_ae=calling_ae, called_ae=here.settings.receive.ae_title
        )
    except (*UNREADABLE, InvalidDicomError):
        raise _no_dicom() from None
    if not attributes.sop_class:
        raise _no_dicom()
    routing = judge(here.settings.rules, attributes, here.settings.routing.match)
    return DryRun(taken=tuple(rule.name for rule in routing.taken), verdicts=tuple(map(_verdict, routing.verdicts)))


def _no_dicom() -> NotDicom:
    return NotDicom("The upload is not a whole DICOM header.", todo="Send one file of the series, as it is.")


def _verdict(verdict: Verdict) -> RuleVerdict:
    return RuleVerdict(
        rule=verdict.rule.name,
        model=verdict.rule.model,
        taken=verdict.taken,
        reason=verdict.reason,
        checks=tuple(
            RuleCheck(
                condition=item.condition, wanted=item.wanted, found=item.found, holds=item.holds, reason=item.reason
            )
            for item in verdict.checks
        ),
    )
