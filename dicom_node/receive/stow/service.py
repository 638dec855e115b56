"""STOW-RS: POST /dicom-web/studies[/{study}] (PS3.18 10.5), into the same store as C-STORE.

Status 200 means that every instance is on stable storage; 202 that some are, and the response says which. For series
completion a request counts as an association: released when its body came whole, else cut off.
"""

from __future__ import annotations

import asyncio
import hmac
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import structlog
from fastapi import APIRouter, FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from dicom_node.audit.trail import Party
from dicom_node.network.multipart import PartReader, media_type
from dicom_node.observability.counters import Counters
from dicom_node.receive.audited import ReceptionAudit
from dicom_node.receive.ingest import Ingest
from dicom_node.receive.policy import Cause
from dicom_node.receive.stow.answer import DICOM_JSON, DICOM_XML, answer_body, wanted_type
from dicom_node.receive.stow.request import CANNOT_UNDERSTAND, TOO_LONG, StoreRequest, TooMuch
from dicom_node.settings.receive import Receive, Stow
from dicom_node.store.instance_store import AETitles, InstanceStore
from pipeline.errors import NotDicom, Truncated
from pipeline.reading.validation import is_uid

log = structlog.get_logger("candela.stow")

BLOCK = 256 << 10
"""Bytes of one block of the body; a block must arrive within ``receive.network_timeout``."""
COME_AGAIN = "5"
"""Seconds after which a client may retry when the node was busy or full."""


@dataclass(frozen=True)
class StowContext:
    """What STOW-RS needs of the receiver. ``numbers`` numbers requests and associations alike.

    ``has_room`` says whether the disk is below the watermark for new requests. ``audit`` records who sent what, and
    rejected clients.
    """

    settings: Receive
    stow: Stow
    store: InstanceStore
    ingest: Ingest
    counters: Counters
    numbers: Iterator[int]
    has_room: Callable[[], bool] = lambda: True
    audit: ReceptionAudit | None = None


def stow_app(context: StowContext) -> FastAPI:
    """The ASGI application, which serves only STOW-RS."""
    app = FastAPI(title="Candela", openapi_url=None)
    app.include_router(stow_router(context))
    return app


def stow_router(context: StowContext) -> APIRouter:
    """The two routes of the Store transaction.

    ======  ==========================================================================================
    200     every instance is on stable storage
    202     some are; FailedSOPSequence and OtherFailuresSequence say which are not
    400     no part, not multipart, an impossible StudyInstanceUID
    401     no token, or an unknown one
    406     neither application/dicom+json nor application/dicom+xml is accepted
    408     the body stalled
    409     no instance was stored; the response says why
    413     more parts or bytes than the settings allow
    415     a media type other than application/dicom, alone or in multipart/related; an encoded body
    503     too many requests at once, or the disk is full: Retry-After
    ======  ==========================================================================================
    """
    router = APIRouter()
    slots = threading.BoundedSemaphore(context.stow.maximum_requests)

    @router.post("/dicom-web/studies")
    @router.post("/dicom-web/studies/{study}")
    async def store(request: Request, study: str = "") -> Response:
        calling_ae = _caller(context.stow, request.headers.get("authorization", ""))
        if calling_ae is None:
            _refuse(context, request)
            return _problem(401, "a bearer token is needed", {"WWW-Authenticate": "Bearer"})
        refused = _unacceptable(context.stow, request, study)
        if refused is not None:
            return refused
        if not context.has_room():
            return _problem(503, "the disk is full", {"Retry-After": COME_AGAIN})
        if not slots.acquire(blocking=False):
            return _problem(503, "too many requests at once", {"Retry-After": COME_AGAIN})
        try:
            return await _store(context, request, study, calling_ae)
        finally:
            slots.release()

    return router


def _caller(stow: Stow, authorization: str) -> str | None:
    """The sender's name; None where it may not store."""
    if not stow.clients:
        return stow.ae_title
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        return None
    presented = token.strip().encode()
    matching = [c for c in stow.clients if hmac.compare_digest(c.bearer_token.get_secret_value().encode(), presented)]
    return matching[0].ae_title if matching else None


def _refuse(context: StowContext, request: Request) -> None:
    context.counters.denied[Cause.TOKEN] += 1
    if context.audit is not None:
        context.audit.denied(Party("", "http", _address(request)), Cause.TOKEN)


def _address(request: Request) -> str:
    """The peer address of the connection, which may be a proxy's."""
    return request.client.host if request.client else ""


def _unacceptable(stow: Stow, request: Request, study: str) -> Response | None:
    """The response to a request that its headers rule out, or None."""
    if study and not is_uid(study):
        return _problem(400, "that is not a StudyInstanceUID")
    if _number(request.headers.get("content-length", "")) > stow.maximum_bytes:
        return _problem(413, f"a request may have {stow.maximum_bytes} bytes")
    if wanted_type(request.headers.get("accept", "")) is None:
        return _problem(406, f"the response is {DICOM_JSON} or {DICOM_XML}")
    return _wrong_media_type(request)


def _wrong_media_type(request: Request) -> Response | None:
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        return _problem(415, "the body must not be encoded")
    kind, parameters = media_type(request.headers.get("content-type", ""))
    if kind == "multipart/related":
        if parameters.get("type", "application/dicom").lower() != "application/dicom":
            return _problem(415, "only application/dicom is taken")
        if not parameters.get("boundary"):
            return _problem(400, "Content-Type names no boundary")
    elif kind != "application/dicom":
        return _problem(415, 'send multipart/related; type="application/dicom", or application/dicom')
    return None


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def _problem(status: int, what: str, headers: dict[str, str] | None = None) -> Response:
    log.warning("stow_refused", status=status, reason=what)
    return Response(what + "\n", status, {**(headers or {}), "Connection": "close"}, "text/plain")


async def _store(context: StowContext, request: Request, study: str, calling_ae: str) -> Response:
    """Read the body and respond; the monitor learns of the end in any case."""
    sender = AETitles(calling_ae=calling_ae, called_ae=context.settings.ae_title)
    number = next(context.numbers)
    context.counters.add("requests_accepted")
    taken = StoreRequest(context.stow, context.store.incoming, context.ingest, sender, number, study)
    whole = False
    try:
        kind, parameters = media_type(request.headers.get("content-type", ""))
        if kind == "application/dicom":
            await _read_one(request, taken, context.settings.network_timeout)
        else:
            await _read_parts(request, parameters["boundary"], taken, context.settings.network_timeout)
        whole = True
        if taken.status() == 400:
            return _problem(400, "the body has no part")
    except (NotDicom, Truncated) as error:
        if not taken.stored:
            return _problem(400, error.what)
        taken.cut_short(CANNOT_UNDERSTAND)
    except TooMuch as error:
        if not taken.stored:
            return _problem(413, str(error))
        taken.cut_short(TOO_LONG)
    except TimeoutError:
        return _problem(408, "the body stalled")
    except ClientDisconnect:
        log.warning("stow_cut_off", stored=len(taken.stored))
        return Response(status_code=400)  # the client no longer reads it
    finally:
        taken.close()
        context.ingest.ended(number, released=whole)
        if context.audit is not None:  # before the response, and not awaited: parts stored before a cut-off stay stored
            source = Party(calling_ae, "http", _address(request))
            context.audit.stored(source, len(taken.stored), tuple(sorted(taken.studies)))
    return _answer(context, request, taken)


def _answer(context: StowContext, request: Request, taken: StoreRequest) -> Response:
    status = taken.status()
    if taken.failures:
        context.counters.add("instances_refused", len(taken.failures))
        reasons = sorted({f"0x{failure.reason:04X} {failure.comment}" for failure in taken.failures})
        log.warning("stow_instances_refused", refused=len(taken.failures), stored=len(taken.stored), reasons=reasons)
    kind = wanted_type(request.headers.get("accept", "")) or DICOM_JSON
    headers = {"Retry-After": COME_AGAIN} if status == 503 else {}
    return Response(answer_body(taken.stored, taken.failures, kind), status, headers, kind)


async def _read_parts(request: Request, boundary: str, taken: StoreRequest, patience: float) -> None:
    reader = PartReader(boundary, taken)
    blocks = _Blocks(request, patience)
    while block := await blocks.next():
        await run_in_threadpool(reader.feed, block)
    reader.finish()


async def _read_one(request: Request, taken: StoreRequest, patience: float) -> None:
    """A body that is one DICOM file."""
    taken.begin({"content-type": "application/dicom"})
    blocks = _Blocks(request, patience)
    while block := await blocks.next():
        await run_in_threadpool(taken.data, block)
    await run_in_threadpool(taken.end)


class _Blocks:
    """The body in blocks of about `BLOCK` bytes."""

    def __init__(self, request: Request, patience: float) -> None:
        self._chunks = request.stream().__aiter__()
        self._patience = patience
        self._over: Exception | None = None

    async def next(self) -> bytes:
        """The next block; empty at the end of the body. Bytes before an error are returned before it is raised.

        Raises
        ------
        TimeoutError
            where the block does not arrive within the time limit.
        ClientDisconnect
            where the client closed the connection.
        """
        if self._over is not None:
            raise self._over
        deadline = time.monotonic() + self._patience
        block = bytearray()
        while len(block) < BLOCK:
            try:
                block += await asyncio.wait_for(anext(self._chunks), deadline - time.monotonic())
            except StopAsyncIteration:
                break
            except (TimeoutError, ClientDisconnect) as error:
                if not block:
                    raise
                self._over = error
                break
        return bytes(block)
