"""The FHIR R4 server of `tools.fhir_server` for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tools.fhir_server import FhirServer, NoFhirServer, running_fhir_server


@contextmanager
def start_fhir_server(port: int = 0) -> Iterator[FhirServer]:
    """A running server, stopped at the end; the test is skipped, with the reason, where Node.js is missing."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(running_fhir_server(port))
        except NoFhirServer as error:
            pytest.skip(str(error))
        yield server
