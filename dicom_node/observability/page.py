"""docs/metrics.md, written from `dicom_node.observability.catalogue`: ``python -m dicom_node.observability.page``.

The prose around the tables is in ``page.md`` beside this file; a line ``@table NAME`` stands for the metrics of one
source.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dicom_node.observability.catalogue import Metric, metrics

TEMPLATE: Final = Path(__file__).with_name("page.md")
PAGE: Final = Path(__file__).parents[2] / "docs" / "metrics.md"


def page() -> str:
    """The text of docs/metrics.md."""
    lines: list[str] = []
    for line in TEMPLATE.read_text().splitlines():
        if not line.startswith("@table "):
            lines.append(line)
            continue
        lines += ["| metric | type | labels | meaning |", "|---|---|---|---|"]
        lines += [_row(item) for item in metrics() if item.source == line.split()[1]]
    return "\n".join(lines) + "\n"


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{name}`" for name in metric.labels)
    return f"| `{metric.exposed}` | {metric.kind} | {labels} | {metric.meaning} |"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
