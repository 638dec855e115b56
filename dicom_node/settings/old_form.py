"""Settings of the form that 0.1 had, rewritten into the present one (ADR 55).

`modernise` works on whatever behaves like a dictionary: on the tree that is about to be validated, and on the document
that `candela config migrate` edits. So a migrated file means what the old one does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, Final

from dicom_node.settings.peers import ADDRESS

Tree = MutableMapping[str, Any]
MakeTable = Callable[[Mapping[str, Any]], Tree]
"""Makes a table of the tree's own kind that holds what the given one does."""

TOP_LEVEL: Final = ("match",)
"""Old settings that stood before the first table, so that each had an environment variable of its own."""
FALSE: Final = frozenset({"false", "0", "no", "off", "f", "n"})


def modernise(tree: Tree, make_table: MakeTable = dict) -> list[str]:
    """Rewrite ``tree`` in place; what was rewritten, each as ``old → new`` by the settings' names.

    Raises
    ------
    ValueError
        where a table names a peer and has an address too.
    """
    book = _Book(tree, make_table)
    changes = [
        *_matching(tree, make_table),
        *_plain(tree),
        *_callers(tree, book),
        *_targets(tree, book),
        *_stow_clients(tree, book),
    ]
    book.close()
    return list(dict.fromkeys(changes))


class _Book:
    """The tables of ``[peers]``: those that are there, and those that old tables make."""

    def __init__(self, tree: Tree, make_table: MakeTable) -> None:
        self._tree = tree
        self._make_table = make_table
        there = tree.get("peers")
        self._peers: Tree = there if isinstance(there, MutableMapping) else make_table({})
        self._began_empty = not self._peers

    def close(self) -> None:
        """Put the tables into the tree, where there are any."""
        if self._began_empty and self._peers:
            self._tree["peers"] = self._peers

    def __getitem__(self, name: str) -> Tree:
        found: Tree = self._peers[name]
        return found

    def caller(self, table: Mapping[str, Any]) -> str:
        """A new entry with what ``table`` says of a caller."""
        return self._add(table)

    def listener(self, address: Mapping[str, Any]) -> str:
        """The entry that listens at ``address``: one that is there, one without an address yet, or a new one."""
        wanted = _address_key(address)
        for name, entry in self._tables():
            if _address_key(entry) == wanted:
                return name
        for name, entry in self._tables():
            if _title(entry) == _title(address) and not {"host", "port"} & set(entry):
                for key in ADDRESS[1:]:
                    if key in address:
                        entry[key] = address[key]
                return name
        return self._add(address)

    def titled(self, ae_title: object) -> str:
        """An entry with this AE title."""
        wanted = {"ae_title": ae_title}
        found = next((name for name, entry in self._tables() if _title(entry) == _title(wanted)), None)
        return found or self._add(wanted)

    def _tables(self) -> Iterator[tuple[str, Tree]]:
        return ((name, entry) for name, entry in self._peers.items() if isinstance(entry, MutableMapping))

    def _add(self, table: Mapping[str, Any]) -> str:
        stem = re.sub(r"[^a-z0-9]+", "-", _title(table).lower()).strip("-") or "peer"
        number = 2
        name = stem
        while name in self._peers:
            name, number = f"{stem}-{number}", number + 1
        self._peers[name] = self._make_table(table)
        return name


def _title(table: Mapping[str, Any]) -> str:
    return str(table.get("ae_title", "")).strip()


def _address_key(table: Mapping[str, Any]) -> tuple[str, ...]:
    """Equal for equal addresses, whether from the file (numbers) or the environment (text)."""
    return (
        _title(table),
        str(table.get("host")),
        str(table.get("port")),
        str(not _is_false(table.get("tls", False))),
        str(table.get("tls_name")),
    )


def _is_false(value: object) -> bool:
    return value.strip().lower() in FALSE if isinstance(value, str) else not value


def _from_json(value: object) -> object:
    """An environment variable gives a list or a table as JSON."""
    if isinstance(value, str) and value.lstrip()[:1] in {"{", "["}:
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _matching(tree: Tree, make_table: MakeTable) -> Iterator[str]:
    if "match" in tree:
        value = tree.pop("match")
        if not isinstance(tree.get("routing"), MutableMapping):
            tree["routing"] = make_table({})
        tree["routing"].setdefault("match", value)
        yield "match → routing.match"


def _plain(tree: Tree) -> Iterator[str]:
    receive = tree.get("receive")
    if isinstance(receive, MutableMapping) and "plain" in receive:
        required = _is_false(receive.pop("plain"))
        if required or "require_tls" not in receive:
            receive["require_tls"] = required
        yield "receive.plain → receive.require_tls"


def _callers(tree: Tree, book: _Book) -> Iterator[str]:
    """`[[receive.peers]]`: entries of the address book, and their names in ``receive.allow``."""
    receive = tree.get("receive")
    if not isinstance(receive, MutableMapping) or "peers" not in receive:
        return
    tables = _from_json(receive.pop("peers"))
    names = []
    for table in tables if isinstance(tables, list | tuple) else ():
        name = book.caller(table)
        names.append(name)
        entry = book[name]
        if "tls" in entry:
            entry["require_tls"] = entry.pop("tls")
    for name in names:  # once every caller is there, so that an address finds the caller that it belongs to
        entry = book[name]
        _reports(entry, book)
        _count(name, entry, book)
    receive["allow"] = [*receive.get("allow", ()), *names]
    yield "receive.peers → peers and receive.allow"


def _reports(entry: Tree, book: _Book) -> None:
    if "commitment" in entry:
        target = _from_json(entry.pop("commitment"))
        entry["commitment_to"] = book.listener(target) if isinstance(target, Mapping) else target


def _count(name: str, entry: Tree, book: _Book) -> None:
    count = entry.get("expected_count")
    if not isinstance(count, MutableMapping) or count.get("kind") != "c-find" or not _states_address(count):
        return
    asked = book.listener(_take_address(count))
    if asked != name:
        count["peer"] = asked


def _targets(tree: Tree, book: _Book) -> Iterator[str]:
    """Destinations and remotes that have an address of their own."""
    for group in ("destinations", "remotes"):
        tables = tree.get(group)
        for name, table in tables.items() if isinstance(tables, Mapping) else ():
            if not isinstance(table, MutableMapping):
                continue
            if table.get("kind") == "dicom" and _states_address(table):
                _refuse_both(f"{group}.{name}", table)
                table["peer"] = book.listener(_take_address(table))
                yield f"{group}.{name}.ae_title, host, port → peers.{table['peer']}"
            elif table.get("kind") == "dicomweb" and "ae_title" in table:
                _refuse_both(f"{group}.{name}", table)
                table["peer"] = book.titled(table.pop("ae_title"))
                yield f"{group}.{name}.ae_title → peers.{table['peer']}"


def _stow_clients(tree: Tree, book: _Book) -> Iterator[str]:
    receive = tree.get("receive")
    stow = receive.get("stow") if isinstance(receive, Mapping) else None
    clients = stow.get("clients") if isinstance(stow, Mapping) else None
    for client in clients if isinstance(clients, list | tuple) else ():
        if isinstance(client, MutableMapping) and "ae_title" in client:
            _refuse_both("receive.stow.clients", client)
            client["peer"] = book.titled(client.pop("ae_title"))
            yield "receive.stow.clients.ae_title → peers"


def _states_address(table: Mapping[str, Any]) -> bool:
    return any(key in table for key in ADDRESS)


def _take_address(table: Tree) -> dict[str, Any]:
    return {key: table.pop(key) for key in ADDRESS if key in table}


def _refuse_both(name: str, table: Mapping[str, Any]) -> None:
    if "peer" in table:
        found = ", ".join(key for key in ADDRESS if key in table)
        raise ValueError(
            f"{name} names peer {table['peer']!r} and has {found} too: state them in peers.{table['peer']}"
            f" (as a variable, CANDELA_PEERS__{str(table['peer']).upper()}__PORT and so on)"
        )
