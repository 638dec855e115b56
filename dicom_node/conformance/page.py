"""docs/conformance.md and the FHIR CapabilityStatements beside it, written from the code's own tables.

``python -m dicom_node.conformance.page`` writes them. The prose is in ``page.md`` beside this file, where a line
``@table NAME`` stands for a table of `dicom_node.conformance.tables`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from dicom_node.conformance.fhir_client import capability_statement
from dicom_node.conformance.tables import TABLES
from fhir.release import Release

TEMPLATE: Final = Path(__file__).with_name("page.md")
DOCS: Final = Path(__file__).parents[2] / "docs"


def page() -> str:
    """The text of docs/conformance.md.

    Raises
    ------
    ValueError
        where page.md leaves out a table, or names one twice.
    """
    lines: list[str] = []
    used: list[str] = []
    for line in TEMPLATE.read_text().splitlines():
        if line.startswith("@table "):
            used.append(line.removeprefix("@table "))
            lines += TABLES[used[-1]]()
        else:
            lines.append(line)
    if sorted(used) != sorted(TABLES):
        raise ValueError(f"page.md does not show each table once: {set(TABLES) ^ set(used)}")
    return "\n".join(lines) + "\n"


def capability_file(release: Release) -> str:
    """The name of the CapabilityStatement's file in docs/."""
    return f"fhir-capability-{release.value.lower()}.json"


def capability_json(release: Release) -> str:
    """The text of that file."""
    return json.dumps(capability_statement(release), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the page and the CapabilityStatements."""
    (DOCS / "conformance.md").write_text(page())
    for release in Release:
        (DOCS / capability_file(release)).write_text(capability_json(release))


if __name__ == "__main__":
    main()
