"""The npm validators over resources, in one go: tests/peers/fhir/validate.mjs under Node.js."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import Any

from fhir.release import Release
from tools.fhir_server import FOLDER, ensure_installed


def problems(resources: Sequence[dict[str, Any]], release: Release) -> list[list[str]]:
    """What the validators of ``release`` say against each resource; empty lists where they say nothing."""
    ensure_installed()
    command = ["node", str(FOLDER / "validate.mjs"), release.value]
    done = subprocess.run(command, input=json.dumps(resources).encode(), capture_output=True, check=True, timeout=300)
    found: list[list[str]] = json.loads(done.stdout)
    assert len(found) == len(resources)
    return found
