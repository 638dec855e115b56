"""What may be said of a URL, and what may be sent to it."""

from __future__ import annotations

import ipaddress

import httpx


def public_url(url: str) -> str:
    """``url`` without user, password and query."""
    bare = url.split("?", maxsplit=1)[0]
    scheme, slashes, rest = bare.rpartition("://")
    return scheme + slashes + rest.rpartition("@")[2]


def is_private(url: str) -> bool:
    """Whether a request to ``url`` is protected from third parties: https, or this machine itself."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    if parsed.scheme == "https":
        return True
    try:
        return ipaddress.ip_address(parsed.host).is_loopback
    except ValueError:
        return parsed.host == "localhost"


def origin(url: str) -> str:
    """The server that ``url`` is on: scheme, host and port."""
    parsed = httpx.URL(url)
    port = parsed.port or {"https": 443, "http": 80}.get(parsed.scheme, 0)
    return f"{parsed.scheme}://{parsed.host}:{port}"
