"""SECURITY.md says what is true: each threat's tests exist, and the security rules are on."""

from __future__ import annotations

import ast
import functools
import re
import tomllib

from tests.conftest import ROOT

TEXT = (ROOT / "SECURITY.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("| ").split(" | ")]
    for line in TEXT.splitlines()
    if line.startswith("| ") and not line.startswith("| Asset")
]
EXEMPT = {"tests/**", "bench/**", "scripts/**", "tools/**"}


def test_every_threat_names_a_test_that_exists() -> None:
    """Asset, attacker, admission, guard and test; each test is a function of the file that is named."""
    functions = functools.cache(_functions)
    for row in ROWS:
        threat = f"{row[0]}, {row[2]}"
        assert len(row) == 5, threat
        assert all(row), threat
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row[4])
        assert re.sub(r"`[^`]+`,? ?", "", row[4]) == "", threat
        assert named, threat
        for file, test in named:
            assert test.startswith("test_"), threat
            assert test in functions(file), f"{threat}: {file}::{test}"


def _functions(file: str) -> set[str]:
    """The names of the functions in a source file."""
    tree = ast.parse((ROOT / file).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_there_is_one_table_of_threats() -> None:
    assert len(ROWS) > 20
    assert len(re.findall(r"^\|---", TEXT, re.MULTILINE)) == 1


def test_the_security_rules_are_on_where_the_product_is() -> None:
    """Only S101 is off as a whole, and all of S only where nothing ships."""
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert lint["select"] == ["ALL"]
    assert [rule for rule in lint["ignore"] if re.fullmatch(r"S\d*", rule)] == ["S101"]
    loose = {path for path, rules in lint["per-file-ignores"].items() if any(re.fullmatch(r"S\d*", r) for r in rules)}
    assert loose == EXEMPT
