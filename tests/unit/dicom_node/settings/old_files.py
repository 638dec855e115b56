"""Settings of the form that 0.1 had, and what they meant: read from the old tables themselves, without `old_form`."""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import Any

from hypothesis import strategies as st

from dicom_node.settings.destinations import DicomDestination
from dicom_node.settings.peers import DicomPeer, FindCount
from dicom_node.settings.remotes import DicomRemote
from dicom_node.settings.tree import Settings

TITLES = st.sampled_from(["PACS", "ORTHANC", "MR1", "ct.2", "A B", "a-b"])


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


ADDRESSES = st.builds(
    lambda ae_title, host, port, tls, tls_name: _given(
        {"ae_title": ae_title, "host": host, "port": port, "tls": tls, "tls_name": tls_name}
    ),
    TITLES,
    st.sampled_from(["h1", "h2"]),
    st.sampled_from([104, 11112]),
    maybe(st.booleans()),
    maybe(st.just("pacs.test")),
)
COUNTS = ADDRESSES.map(lambda address: {"kind": "c-find", **address}) | st.just(
    {"kind": "orthanc", "url": "http://h1:8042", "username": "u"}
)
CALLERS = st.lists(
    st.builds(
        lambda ae_title, addresses, tls, commitment, count: _given(
            {
                "ae_title": ae_title,
                "addresses": addresses,
                "tls": tls,
                "commitment": commitment,
                "expected_count": count,
            }
        ),
        TITLES,
        maybe(st.just(["10.0.0.0/8"])),
        maybe(st.booleans()),
        maybe(ADDRESSES),
        maybe(COUNTS),
    ),
    max_size=4,
    unique_by=lambda table: table["ae_title"],
)
TARGETS = st.dictionaries(
    st.sampled_from(["pacs", "archive", "third"]), ADDRESSES.map(lambda address: {"kind": "dicom", **address})
)
WEB = st.builds(
    lambda title: _given({"kind": "dicomweb", "url": "http://h1/rs", "ae_title": title}),
    maybe(TITLES),
)
CLIENTS = st.lists(
    st.builds(lambda title, number: {"ae_title": title, "bearer_token": f"{number:016}"}, TITLES, st.integers(0, 9)),
    max_size=3,
    unique_by=lambda table: table["bearer_token"],
)


@st.composite
def old_trees(draw: st.DrawFn) -> dict[str, Any]:
    """A whole tree of the old form that 0.1 took."""
    tree: dict[str, Any] = {"match": draw(st.sampled_from(["first", "all"]))} if draw(st.booleans()) else {}
    tree["tls"] = {"certificate": "c.pem", "key": "k.pem", "trusted": "t.pem"}
    tree["receive"] = _given({"plain": draw(maybe(st.booleans())), "tls_port": 2762, "peers": draw(CALLERS)})
    if clients := draw(CLIENTS):
        tree["receive"]["stow"] = {"clients": clients}
    tree["destinations"] = draw(TARGETS) | {"files": {"kind": "folder", "path": "out"}}
    tree["remotes"] = draw(TARGETS) | {"web": draw(WEB)}
    return tree


def toml(tree: dict[str, Any]) -> str:
    """``tree`` as a file: tables by their headers, as people write them, with a comment before each."""
    lines = [f"{key} = {_value(value)}" for key, value in tree.items() if not isinstance(value, dict)]
    for name, table in tree.items():
        if isinstance(table, dict):
            lines += _table(name, table)
    return "\n".join(lines) + "\n"


def _table(name: str, table: dict[str, Any]) -> list[str]:
    lines = [f"# about {name}", f"[{name}]"]
    below = []
    for key, value in table.items():
        if isinstance(value, dict):
            below += _table(f"{name}.{key}", value)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for item in value:
                below += [f"[[{name}.{key}]]  # one of {key}", *(f"{k} = {_value(v)}" for k, v in item.items())]
        else:
            lines.append(f"{key} = {_value(value)}")
    return [*lines, *below]


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


def meant(tree: dict[str, Any]) -> dict[str, Any]:
    """What 0.1 took from ``tree``, where a peer's address or title came from."""
    receive = tree.get("receive", {})
    clients = (receive.get("stow") or {}).get("clients", ())
    return {
        "match": tree.get("match", "first"),
        "plain": receive.get("plain", True),
        "callers": [
            {
                "ae_title": peer["ae_title"],
                "addresses": [str(ip_network(text)) for text in peer.get("addresses", ())],
                "tls": peer.get("tls", False),
                "commitment": _address(peer.get("commitment")),
                "count": _count(peer.get("expected_count")),
            }
            for peer in receive.get("peers", ())
        ],
        "destinations": {n: _address(t) for n, t in tree.get("destinations", {}).items() if t["kind"] == "dicom"},
        "remotes": {
            n: _address(t) if t["kind"] == "dicom" else t.get("ae_title", "DICOMWEB")
            for n, t in tree.get("remotes", {}).items()
        },
        "clients": [client["ae_title"] for client in clients],
    }


def read(settings: Settings) -> dict[str, Any]:
    """The same of ``settings``."""
    stow = settings.receive.stow
    return {
        "match": settings.routing.match,
        "plain": not settings.receive.require_tls,
        "callers": [
            {
                "ae_title": peer.ae_title,
                "addresses": [str(network) for network in peer.addresses],
                "tls": peer.require_tls,
                "commitment": _stated(peer.commitment_to),
                "count": _stated(peer.expected_count.peer)
                if isinstance(peer.expected_count, FindCount)
                else peer.expected_count and peer.expected_count.url,
            }
            for peer in settings.receive.allow
        ],
        "destinations": {
            n: _stated(item.peer) for n, item in settings.destinations.items() if isinstance(item, DicomDestination)
        },
        "remotes": {
            n: _stated(item.peer) if isinstance(item, DicomRemote) else item.ae_title
            for n, item in settings.remotes.items()
        },
        "clients": [client.ae_title for client in stow.clients] if stow else [],
    }


def _address(table: dict[str, Any] | None) -> tuple[Any, ...] | None:
    if table is None:
        return None
    return table["ae_title"], table["host"], table["port"], table.get("tls", False), table.get("tls_name")


def _count(table: dict[str, Any] | None) -> object:
    return table["url"] if table and table["kind"] == "orthanc" else _address(table)


def _stated(peer: DicomPeer | None) -> tuple[Any, ...] | None:
    return None if peer is None else (peer.ae_title, peer.host, peer.port, peer.tls, peer.tls_name)
