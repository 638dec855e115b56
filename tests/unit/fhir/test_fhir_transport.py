"""Whom a connection to a FHIR server trusts."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
import trustme

from fhir.server.auth import Bearer
from fhir.server.transport import authorities, connect

HTTP, HTTPS = "http://127.0.0.1:9/fhir", "https://ehr.example/fhir"


class Nothing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def stranger() -> Iterator[str]:
    """A server with a certificate of an authority that this machine does not know."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    server = HTTPServer(("127.0.0.1", 0), Nothing)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("authorization", [None, Bearer(lambda: "secret")])
def test_a_connection_in_clear_text_never_trusts_a_stranger(stranger: str, authorization: Bearer | None) -> None:
    """A token endpoint, or a next page, that is https is checked, also where the server itself is asked by http."""
    with connect(HTTP, 5, authorization, None) as server, pytest.raises(httpx.ConnectError, match="CERTIFICATE"):
        server.http.get(stranger)


def testauthorities_are_read_wherever_https_may_be_asked() -> None:
    """None are read where nothing but clear text is asked; what is read or not, certificates are always required."""
    for url, authorization, read in (
        (HTTPS, None, True), (HTTP, Bearer(lambda: "secret"), True), (HTTP, None, False)
    ):  # fmt: skip
        context = authorities(url, authorization)
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        default = ssl.create_default_context()
        assert context.cert_store_stats() == (
            default.cert_store_stats() if read else {"x509": 0, "crl": 0, "x509_ca": 0}
        )
