"""Tables of a page in Markdown, also from the docstring of a handler that lists its statuses."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence

RULE = re.compile(r"=+(  +=+)+")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    lines = [list(heads), ["---"] * len(heads), *map(list, rows)]
    return ["| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines]


def stated(handler: object) -> list[tuple[str, str]]:
    """(code, meaning) of each row of the table in the docstring of ``handler``; a meaning may go over several lines.

    Raises
    ------
    ValueError
        where the docstring has no table.
    """
    lines = (inspect.getdoc(handler) or "").splitlines()
    rules = [number for number, line in enumerate(lines) if RULE.fullmatch(line)]
    if len(rules) != 2:
        raise ValueError(f"the docstring of {handler} has no table")
    column = lines[rules[0]].index(" ")
    rows: list[tuple[str, str]] = []
    for line in lines[rules[0] + 1 : rules[1]]:
        code, meaning = line[:column].strip(), line[column:].strip()
        if code:
            rows.append((code, meaning))
        else:
            rows[-1] = (rows[-1][0], f"{rows[-1][1]} {meaning}")
    return rows


def ranges(codes: Iterable[int]) -> str:
    """Ascending 16-bit codes in words: ``0x0110, 0xA700–0xA7FF``."""
    runs: list[list[int]] = []
    for code in codes:
        if runs and code == runs[-1][1] + 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    return ", ".join(f"0x{a:04X}" if a == b else f"0x{a:04X}–0x{b:04X}" for a, b in runs)
