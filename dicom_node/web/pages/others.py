"""The pages of destinations and models."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from dicom_node.web.api.destinations import destinations_of
from dicom_node.web.api.models import model_of, models_of
from dicom_node.web.auth.gate import Here, Reads
from dicom_node.web.pages.render import page
from models import registry

router = APIRouter()


@router.get("/destinations")
def destinations(request: Request, here: Here, who: Reads) -> Response:
    """Queue, circuit and last success of each destination."""
    return page(request, "destinations.html", who, destinations=destinations_of(here))


@router.get("/models")
def models(request: Request, here: Here, who: Reads) -> Response:
    """The installed models."""
    return page(request, "models.html", who, models=models_of(here))


@router.get("/models/{name}")
def model(request: Request, here: Here, who: Reads, name: str) -> Response:
    """A model's card."""
    found = model_of(here, registry.get(name, here.settings.models.folders))
    return page(request, "model.html", who, model=found, card=card_html(found.card, name))


def card_html(card: str, name: str) -> Markup:
    """A model card as HTML. HTML within it is shown as text; its plots come from the API, other pictures are left out;
    links lead outside only.
    """
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(card)
    for token in tokens:
        if token.type == "table_open":  # a wide one is scrolled, by keys too
            token.attrs["tabindex"] = 0
        token.children = [item for item in (_local(part, name) for part in token.children or []) if item is not None]
    # markdown-it escapes text and attributes.
    return Markup(markdown.renderer.render(tokens, markdown.options, {}))  # noqa: S704


def _local(token: Token, name: str) -> Token | None:
    if token.type == "image":
        source = str(token.attrs.get("src", ""))
        if not source.startswith("plots/"):
            return None
        token.attrs["src"] = f"/api/v1/models/{quote(name)}/plots/{quote(source.removeprefix('plots/'))}"
        token.attrs["loading"] = "lazy"
    if token.type == "link_open" and not str(token.attrs.get("href", "")).startswith(("https://", "http://")):
        token.attrs = {}
    return token
