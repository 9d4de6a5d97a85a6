"""Endpoints over TLS, as they are asked outside of the sandbox: a real handshake on loopback."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from runbook import settings
from runbook.clients import Clients
from runbook.studio import endpoints
from runbook.studio.endpoints import Answer, Question

HOST = "api.pulse.example"
NOW = datetime.now(UTC).replace(microsecond=0)


def certificate(folder: Path, until: datetime) -> Path:
    """A certificate of HOST's that vouches for itself, with its key, in one file."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.DNSName(HOST)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=90))
        .not_valid_after(until)
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


class Answers(BaseHTTPRequestHandler):
    """Says by which host it was asked."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(str(self.headers["Host"]).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Answer]]:
    """Ask a TLS server whose certificate is HOST's, valid `until`; we trust nobody else."""
    servers: list[HTTPServer] = []

    def asked(*, until: datetime, certificate_of: str = HOST) -> Answer:
        path = certificate(tmp_path, until)
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        server = HTTPServer(("127.0.0.1", 0), Answers)
        servers.append(server)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"127.0.0.1:{server.server_port}"
        sandbox = settings.load("sandbox")
        elsewhere = sandbox.endpoints.model_copy(update={"connection": ""})
        clients = Clients(sandbox.model_copy(update={"endpoints": elsewhere}))
        question = Question("api", endpoints.ALB, "health", place, certificate_of, "/v1/health")
        return endpoints.ask(clients, [question])[0]

    yield asked
    for server in servers:
        server.shutdown()
        server.server_close()


def test_another_hosts_name_is_connected_to_with_the_certificate_of_the_service(
    ask: Callable[..., Answer],
) -> None:
    until = NOW + timedelta(days=12)
    found = ask(until=until)
    assert (found.status, found.error) == (200, "")
    assert found.certificate_until == until
    # the load balancer's rules see its own name, whatever the handshake asked for
    assert found.body.decode() == found.question.connect_to


@pytest.mark.parametrize(
    ("until", "certificate_of", "told"),
    [
        (NOW + timedelta(days=12), "other.pulse.example", "Hostname mismatch"),
        (NOW - timedelta(days=1), HOST, "certificate has expired"),
    ],
)
def test_a_certificate_that_does_not_hold_is_no_answer_and_says_why(
    ask: Callable[..., Answer], until: datetime, certificate_of: str, told: str
) -> None:
    found = ask(until=until, certificate_of=certificate_of)
    assert found.status is None
    assert told in found.error
    assert endpoints.judge(found, settings.Endpoints())[0] == "critical"
