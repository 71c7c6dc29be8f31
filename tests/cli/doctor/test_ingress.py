"""The way in, as clients walk it: a name, a certificate, and whoever answers there."""

from __future__ import annotations

import json
import socket
import ssl
from contextlib import asynccontextmanager

import pytest
import trio

from gateway.cli.doctor import ingress
from gateway.cli.doctor.finding import Status
from tests.cli.doctor.conftest import bad
from tests.cli.doctor.test_issuers import write_certificate


def own_name() -> str:
    """This machine's name, if it is one that leads to it and is not `localhost`."""
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return ""
    return "" if name == "localhost" else name.lower()


NAME = own_name()
pytestmark = pytest.mark.skipif(not NAME, reason="needs a host name that resolves: add it to /etc/hosts")


@asynccontextmanager
async def answering(patient, monkeypatch, status, document, *, days=365):
    """An ingress at the public_url of the configuration, which answers everything with this."""
    write_certificate(patient.place, days=days, name=NAME)
    monkeypatch.setenv("SSL_CERT_FILE", str(patient.place / "cert.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(patient.place / "cert.pem", patient.place / "key.pem")
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n"

    async def serve(stream):
        try:
            secured = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
            await secured.receive_some()
            body = json.dumps(document(patient)).encode()
            await secured.send_all(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            await secured.aclose()
        except (trio.BrokenResourceError, ssl.SSLError):
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0)
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        port = listeners[0].socket.getsockname()[1]
        line = f'listen = "127.0.0.1:{patient.gateway.port}"'
        patient.edit(lambda text: text.replace(line, f'{line}\npublic_url = "https://{NAME}:{port}"'))
        yield
        nursery.cancel_scope.cancel()


def ours(patient):
    return {"resource": patient.config.resource("ward")}


async def test_an_ingress_that_leads_here_is_well(patient, monkeypatch):
    async with answering(patient, monkeypatch, "200 OK", ours):
        found = await ingress.check(patient.config)

    assert [one.status for one in found] == [Status.OK, Status.OK]
    assert found[1].text.endswith("leads to a gateway with this configuration")


@pytest.mark.parametrize(
    ("status", "document", "said"),
    [
        ("404 Not Found", lambda _: {}, "answers 404"),
        ("200 OK", lambda _: {"resource": "https://another.example/mcp/ward"}, "is answered by something else"),
        ("200 OK", lambda _: ["not", "metadata"], "is not answered"),
    ],
    ids=["not passed on", "another gateway", "another service"],
)
async def test_an_ingress_that_leads_elsewhere_is_told_with_the_paths_to_pass_on(
    patient, monkeypatch, status, document, said
):
    async with answering(patient, monkeypatch, status, document):
        found = bad(await ingress.check(patient.config))

    assert found.status is Status.WARN
    assert f"/.well-known/oauth-protected-resource/mcp/ward {said}" in found.text
    assert "/mcp, /.well-known/oauth-protected-resource" in found.fix


async def test_an_expired_certificate_at_the_ingress_is_told(patient, monkeypatch):
    async with answering(patient, monkeypatch, "200 OK", ours, days=-3):
        found = bad(await ingress.check(patient.config))

    assert "certificate has expired" in found.text
