"""The installed models: cards, figures, plots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from dicom_node.web.api.problems import Problem
from dicom_node.web.api.schemas import Model, ModelDetail
from dicom_node.web.auth.gate import Here, Reads
from dicom_node.web.context import Context
from models import registry
from models.registry import RegisteredModel

router = APIRouter(tags=["models"])

PLOTS: Final = "docs/plots"
TYPES: Final = {".svg": "image/svg+xml", ".png": "image/png"}


@router.get("/models")
def list_models(here: Here, _: Reads) -> list[Model]:
    """The models that ship and those in the configured folders."""
    return models_of(here)


@router.get("/models/{name}", response_model=ModelDetail)
def show_model(here: Here, _: Reads, name: str, request: Request, response: Response) -> ModelDetail | Response:
    """A model's card and measured figures."""
    entry = registry.get(name, here.settings.models.folders)
    tag = f'"{entry.digest[:32]}"'
    response.headers["ETag"] = tag
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"ETag": tag})
    return model_of(here, entry)


@router.get("/models/{name}/plots/{plot}")
def show_plot(here: Here, _: Reads, name: str, plot: str) -> Response:
    """A plot of the card."""
    path = next((item for item in _plots(registry.get(name, here.settings.models.folders)) if item.name == plot), None)
    if path is None:
        raise Problem(404, "The model has no such plot.", code="NO_SUCH_PLOT")
    return FileResponse(path, media_type=TYPES[path.suffix], headers={"Cache-Control": "private, max-age=3600"})


def models_of(here: Context) -> list[Model]:
    """Every installed model."""
    return [Model(**_facts(here, entry)) for entry in registry.entries(here.settings.models.folders)]


def model_of(here: Context, entry: RegisteredModel) -> ModelDetail:
    """A model with its card."""
    plots = tuple(path.name for path in _plots(entry))
    return ModelDetail(**_facts(here, entry), card=entry.card(), evaluation=_evaluation(entry), plots=plots)


def _facts(here: Context, entry: RegisteredModel) -> dict[str, Any]:
    return {
        "name": entry.name,
        "title": entry.title,
        "version": entry.version,
        "kind": str(entry.kind),
        "digest": entry.digest,
        "rules": tuple(rule.name for rule in here.settings.rules if rule.model == entry.name),
    }


def _evaluation(entry: RegisteredModel) -> dict[str, Any] | None:
    try:
        found = json.loads((entry.folder / "docs" / "evaluation.json").read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _plots(entry: RegisteredModel) -> list[Path]:
    return sorted(path for path in (entry.folder / PLOTS).glob("*") if path.suffix in TYPES)
