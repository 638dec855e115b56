"""The program that the dashboard starts for an uploaded series: `candela process` that reports on stdout where it is.

Each line of stdout is a JSON object: ``{"stage": TEXT}`` as a stage begins; at the end ``{"outcome": ..., "code":
...}``, or ``{"failed": CODE, "text": TEXT}`` with exit status 1. Neither holds patient data. The process ends with its
parent.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from dicom_node.inference.process_path import process_path
from dicom_node.observability import log as observability
from dicom_node.settings.tree import load
from dicom_node.start_up import dying_with
from pipeline.errors import CandelaError


def main(arguments: list[str] | None = None) -> int:
    """Read one series; returns the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("path", type=Path, help="folder of the series")
    parser.add_argument("out", type=Path, help="folder for the results")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--parent", type=int, help="process id of the dashboard")
    found = parser.parse_args(arguments)
    if found.parent and (prepare := dying_with(found.parent)):
        prepare()
    os.nice(5)  # series of the modalities go first
    observability.configure()
    try:
        settings = load(found.config)
        observability.configure(plain_uids=settings.log_uids == "plain")
        summary = process_path(
            found.path, found.out, settings, model=found.model, progress=lambda stage: _say(stage=stage), with_page=True
        )
    except CandelaError as error:
        _say(failed=error.code, text=str(error))
        return 1
    _say(outcome=summary["outcome"], code=summary.get("code"))
    return 0


def _say(**values: Any) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
