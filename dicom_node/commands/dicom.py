"""`candela echo` and `send`: DICOM SCU helpers for administrators."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import

from dicom_node.commands.common import ConfigOption, load_settings
from dicom_node.deliver.dimse import DimseSender
from dicom_node.network.entity import application_entity
from dicom_node.network.tls import towards
from dicom_node.settings.destinations import DicomDestination
from dicom_node.settings.peers import DicomPeer
from dicom_node.settings.tree import Settings
from pipeline.errors import BadSettings, NotDicom, PeerUnavailable, Rejected

PeerArgument = Annotated[str, typer.Argument(help="The peer: its name in [peers.NAME], or AETITLE@HOST:PORT.")]
CallingOption = Annotated[str, typer.Option("--calling", help="Our AE title.")]


def peer_of(text: str) -> DicomPeer:
    """A peer written as AETITLE@HOST:PORT."""
    title, at, address = text.partition("@")
    host, colon, port = address.rpartition(":")
    if not (title and at and host and colon and port.isdigit()):
        raise typer.BadParameter(f"{text!r} is not AETITLE@HOST:PORT", param_hint="PEER")
    return DicomPeer(ae_title=title, host=host, port=int(port))


def _peer_called(text: str, config_file: Path | None) -> DicomPeer:
    """A peer by its name in the settings, or written as AETITLE@HOST:PORT."""
    return peer_of(text) if "@" in text else peer_named(text, load_settings(config_file))


def peer_named(name: str, settings: Settings) -> DicomPeer:
    """Where the peer called ``name`` in the address book listens.

    Raises
    ------
    BadSettings
        where there is no such peer, or its host and port are not stated.
    """
    entry = settings.peers.get(name)
    if entry is None:
        known = ", ".join(settings.peers) or "none"
        raise BadSettings(f"There is no peer {name!r} (known: {known}).", todo="Name it in [peers.NAME].")
    if entry.host is None:
        raise BadSettings("The peer has no host and port.", where=f"peers.{name}", todo="State both.")
    found = entry.listener
    found.known_as(settings.tls)
    return found


def echo(peer: PeerArgument, calling: CallingOption = "CANDELA", config_file: ConfigOption = None) -> None:
    """C-ECHO: check that the peer answers and accepts us."""
    target = _peer_called(peer, config_file)
    ae = application_entity(calling)
    ae.add_requested_context(Verification)
    secure = towards(target)
    assoc = ae.associate(target.host, target.port, ae_title=target.ae_title, tls_args=secure)
    if not assoc.is_established:
        raise PeerUnavailable(
            "The association was rejected." if assoc.is_rejected else "No association.",
            where=peer,
            todo="Check AE titles, host and port on both sides.",
        )
    status = assoc.send_c_echo()
    assoc.release()
    if status.get("Status") != 0x0000:
        raise Rejected(f"C-ECHO was answered with status 0x{status.get('Status', 0):04X}.", where=peer)
    typer.echo(f"{target.ae_title} at {target.host}:{target.port} answers")


def send(
    peer: PeerArgument,
    path: Annotated[Path, typer.Argument(help="A DICOM file or a folder of them.")],
    calling: CallingOption = "CANDELA",
    config_file: ConfigOption = None,
) -> None:
    """C-STORE every DICOM file below PATH to the peer."""
    if _in_the_old_order(peer, path, config_file):
        typer.echo(
            "warning: PATH PEER is the order of version 0.2, understood for the last time: give PEER PATH", err=True
        )
        peer, path = str(path), Path(peer)
    if not path.exists():
        raise typer.BadParameter(f"there is nothing at {path}", param_hint="PATH")
    files = tuple(sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path])
    files = tuple(item for item in files if _has_prefix(item))
    if not files:
        raise NotDicom("There is no DICOM file here.", where=str(path), todo="Pass a folder that holds a series.")
    target = DicomDestination(kind="dicom", peer=_peer_called(peer, config_file))
    typer.echo(DimseSender(target, calling).send(files))


def _in_the_old_order(first: str, second: Path, config_file: Path | None) -> bool:
    """Whether the arguments can only be meant as PATH PEER: the second names a peer, and the two are not a peer and a
    path that is there.
    """
    return (
        Path(first).exists()
        and _is_peer(str(second), config_file)
        and not (second.exists() and _is_peer(first, config_file))
    )


def _is_peer(text: str, config_file: Path | None) -> bool:
    if "@" not in text:
        return text in load_settings(config_file).peers
    try:
        peer_of(text)
    except (typer.BadParameter, ValueError):
        return False
    return True


def _has_prefix(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"
