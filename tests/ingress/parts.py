"""Real ingresses with the configuration files that are shipped, in front of two real gateways on one store.

A shipped file is started as it is but for what is of another place: ports, names, paths, and times where a test says
so. Each such change must meet something in the file, so that nothing is tested that is not shipped.
"""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests import real_parts
from tests.e2e import harness
from tests.e2e.harness import START_S, Gateway, Upstream
from tests.e2e.issuer import Issuer
from tests.identity import certificates
from tests.identity.certificates import SERVER, Authority, Pair, loopback, uri

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
AGENT = "spiffe://corp.example/agents/triage"
DRAIN_DELAY_S = 2.5
"""More than two health checks of each ingress, which look once a second."""
Changes = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Kind:
    """One ingress: how it is started, and what of its file is of another place here."""

    name: str
    file: str
    command: Callable[[Path], list[str]]
    places: Callable[[Place], Changes]
    mtls: Changes
    header: str
    """The header of `[gateway.mtls]`."""
    brief: Changes
    """Its limits on silence, from a minute to three seconds."""
    unnoticed: Changes
    """It looks once a minute whether a gateway is well that was well."""
    to_batch: Changes
    """Takes in the example that gives one tool a pool of its own."""


@dataclass(frozen=True)
class Place:
    """Where an ingress is started."""

    directory: Path
    port: int
    replicas: tuple[int, ...]

    @property
    def tls(self) -> Path:
        return self.directory / "tls"


@dataclass
class Replica(Gateway):
    """One of several gateways in one place."""

    number: int = 1

    @property
    def config(self) -> Path:
        return self.place / f"phigate-{self.number}.toml"

    @property
    def log(self) -> Path:
        return self.place / f"gateway-{self.number}.log"


@dataclass
class Ingress:
    """A running ingress. Its gateways are `replicas`; `gateway` is one that clients reach through it."""

    kind: Kind
    place: Place
    replicas: tuple[Replica, ...]
    authority: Authority
    agent: Pair
    process: subprocess.Popen[bytes]
    phi: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.place.port}"

    @property
    def log(self) -> Path:
        return self.place.directory / "ingress.log"

    def mcp(self, upstream: str) -> str:
        return f"{self.url}/mcp/{upstream}"

    def headers(self, who: str, **more: str) -> dict[str, str]:
        """Request headers of somebody's plain HTTP request."""
        return self.replicas[0].headers(who, **more)

    def trust(self, agent: Pair | None = None) -> ssl.SSLContext:
        """A client's TLS, which believes this ingress; with a client certificate if there is one."""
        context = ssl.create_default_context(cafile=str(self.place.tls / "ca.pem"))
        if agent is not None:
            context.load_cert_chain(*agent.write(self.place.directory, "client"))
        return context

    def client(self, agent: Pair | None = None, **more: Any) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(verify=self.trust(agent), timeout=30, **more)


def _nginx_places(place: Place) -> Changes:
    temp = "".join(f"    {name}_temp_path {place.directory}/{name};\n" for name in _NGINX_TEMPORARY)
    return [
        ("pid /run/nginx.pid;", f"pid {place.directory}/nginx.pid;\ndaemon off;"),
        ("http {\n", f"http {{\n{temp}"),
        ("/dev/stdout", f"{place.directory}/access.log"),
        ("listen 443 ssl http2 default_server;", f"listen 127.0.0.1:{place.port} ssl http2 default_server;"),
        ("listen 443 ssl http2;", f"listen 127.0.0.1:{place.port} ssl http2;"),
        ("server_name gateway.example;", "server_name localhost 127.0.0.1;"),
        *((f"gateway-{n}:8080", f"127.0.0.1:{port}") for n, port in enumerate(place.replicas, 1)),
    ]


_NGINX_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")

NGINX = Kind(
    name="nginx",
    file="nginx/nginx.conf",
    command=lambda file: [_debian("nginx", "nginx-light"), "-e", "stderr", "-c", str(file)],
    places=_nginx_places,
    mtls=[("# ssl_client_certificate", "ssl_client_certificate"), ("# ssl_verify_client", "ssl_verify_client")],
    header="x-ssl-client-cert",
    brief=[
        ("proxy_read_timeout 60s", "proxy_read_timeout 3s"),
        ("    send_timeout 60s", "    send_timeout 3s"),
        ("client_header_timeout 10s", "client_header_timeout 1s"),
        ("client_body_timeout 30s", "client_body_timeout 1s"),
    ],
    unnoticed=(),
    to_batch=[
        ('# "tools/call nightly_export" phigate_batch;', '"tools/call nightly_export" phigate_batch;'),
        ("    upstream phigate {", "    upstream phigate_batch { server 127.0.0.1:BATCH; }\n    upstream phigate {"),
    ],
)
HAPROXY = Kind(
    name="haproxy",
    file="haproxy/haproxy.cfg",
    command=lambda file: [_debian("haproxy", "haproxy"), "-f", str(file)],
    places=lambda place: [
        ("bind :443", f"bind 127.0.0.1:{place.port}"),
        ("field(1,:) -i gateway.example", "field(1,:) -i localhost 127.0.0.1"),
        *(
            (f"gateway-{n} gateway-{n}:8080", f"gateway-{n} 127.0.0.1:{port}")
            for n, port in enumerate(place.replicas, 1)
        ),
    ],
    mtls=[("alpn h2,http/1.1\n", "alpn h2,http/1.1 ca-file /etc/phigate/agents-ca.pem verify optional\n")],
    header="client-cert",
    brief=[
        ("timeout client 60s", "timeout client 3s"),
        ("timeout server 60s", "timeout server 3s"),
        ("timeout http-request 10s", "timeout http-request 1s"),
    ],
    unnoticed=[("check inter 1s", "check inter 60s fastinter 1s downinter 1s")],
    to_batch=[
        ("# use_backend phigate_batch", "use_backend phigate_batch"),
        ("\nbackend phigate\n", "\nbackend phigate_batch\n    server batch 127.0.0.1:BATCH\n\nbackend phigate\n"),
    ],
)
ENVOY = Kind(
    name="envoy",
    file="envoy/envoy.yaml",
    command=lambda file: [
        str(real_parts.python_tool("envoy")), "-c", str(file), "--log-level", "warning", "--concurrency", "1",
        "--use-dynamic-base-id", "--file-flush-interval-msec", "50",
    ],
    places=lambda place: [
        ("{address: 0.0.0.0, port_value: 443}", f"{{address: 127.0.0.1, port_value: {place.port}}}"),
        ('domains: [gateway.example, "gateway.example:*"]', 'domains: [localhost, "localhost:*", "127.0.0.1:*"]'),
        *(
            (f"address: gateway-{n}, port_value: 8080", f"address: 127.0.0.1, port_value: {port}")
            for n, port in enumerate(place.replicas, 1)
        ),
    ],
    mtls=[("# validation_context:", "validation_context:")],
    header="x-forwarded-client-cert",
    brief=[
        ("stream_idle_timeout: 60s", "stream_idle_timeout: 3s"),
        ("request_headers_timeout: 10s", "request_headers_timeout: 1s"),
    ],
    unnoticed=[
        (" interval: 1s\n", " interval: 60s\n"),
        (" no_traffic_interval: 1s\n", " no_traffic_interval: 60s\n          unhealthy_interval: 1s\n"),
    ],
    to_batch=[
        *((f"# {line}", line) for line in (
            "- name: batch", "  match:", "    prefix: /mcp/", "    headers:",
            "      - {name: mcp-method, string_match: {exact: tools/call}}",
            "      - {name: mcp-name, string_match: {exact: nightly_export}}",
            "  route: {cluster: phigate_batch, timeout: 0s}",
        )),
        ("  clusters:\n", "  clusters:\n    - {name: phigate_batch, type: STATIC, load_assignment: "
         "{cluster_name: phigate_batch, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: "
         "{address: 127.0.0.1, port_value: BATCH}}}}]}]}}\n"),
    ],
)  # fmt: skip
KINDS = {kind.name: kind for kind in (NGINX, ENVOY, HAPROXY)}


def _debian(name: str, package: str) -> str:
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if found is None:
        pytest.skip(f"needs Debian's {name}: apt-get install {package}")
    return found


def rendered(kind: Kind, changes: Changes) -> str:
    """The shipped file with these changes, each of which must meet something."""
    text = (DEPLOY / kind.file).read_text()
    for old, new in changes:
        assert old in text, f"{kind.file} no longer says {old!r}"
        text = text.replace(old, new)
    return text


@contextmanager
def gateways(
    place: Path,
    people: Issuer,
    upstreams: Sequence[Upstream],
    ports: Sequence[int],
    *headers: str,
    settings: Mapping[str, Any] | None = None,
    policy: Callable[[Path], None] | None = None,
) -> Iterator[tuple[Replica, ...]]:
    """A gateway for each of `headers`, in which it is handed certificates. They share a directory and with it store and
    keys, are reached by clients at `ports`, and are checked at the end."""
    authority = certificates.authority()
    place.mkdir(exist_ok=True)
    authority.write(place, "agents-ca")
    common = {
        "public_url": f"https://localhost:{ports[0]}",
        "allowed_hosts": [f"{host}:{port}" for host in ("localhost", "127.0.0.1") for port in ports],
        "trusted_proxies": ["127.0.0.1"],
        "drain_delay_s": 0,
        **(settings or {}),
    }
    first = harness.prepare(place, people, upstreams, settings={"gateway": common}, policy=policy)
    text = first.config.read_text()
    found = []
    for number, header in enumerate(headers, 1):
        replica = Replica(place, people, harness.free_port(), number=number)
        table = (
            f'\n[gateway.mtls]\nname = "agents"\nheader = "{header}"\nca = "agents-ca.pem"\n'
            f'groups = {{ "{AGENT}" = ["analysts"] }}\n'
        )
        mine = text.replace("\n[evidence]", f"{table}[evidence]")
        replica.config.write_text(mine.replace(f'"127.0.0.1:{first.port}"', f'"127.0.0.1:{replica.port}"'))
        found.append(replica)
    first.config.unlink()
    try:
        for replica in found:
            replica.start()
        yield tuple(found)
        for replica in found:
            if replica.process is not None:
                replica.stop()
        found[0].check()
        found[0].check_ends()
    finally:
        for replica in found:
            replica.kill()


@contextmanager
def in_front(
    kind: Kind,
    place: Path,
    replicas: Sequence[Replica],
    port: int,
    changes: Changes = (),
    *,
    answers: int = 404,
) -> Iterator[Ingress]:
    """The shipped ingress before these replicas; `changes` are more than where it is.

    `answers`: the status of what nobody has, once the ingress is up."""
    place.mkdir(exist_ok=True)
    here = Place(place, port, tuple(each.port for each in replicas))
    authority = certificates.authority("Synthetic ingress")
    here.tls.mkdir(exist_ok=True)
    (here.tls / "ca.pem").write_bytes(authority.pem)
    server = authority.issue(*loopback(), usage=(SERVER,), common="localhost")
    (here.tls / "tls.crt").write_bytes(server.pem)
    (here.tls / "tls.key").write_bytes(server.secret)
    issuer = agents(replicas[0].place)
    paths = [
        ("/etc/phigate/tls", str(here.tls)),
        ("/etc/phigate/agents-ca.pem", str(replicas[0].place / "agents-ca.pem")),
    ]
    file = place / Path(kind.file).name
    file.write_text(rendered(kind, [*kind.places(here), *kind.mtls, *changes, *paths]))
    with (place / "ingress.log").open("ab") as log, ExitStack() as stack:
        process = subprocess.Popen(kind.command(file), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=place)
        stack.callback(_end, process)
        ingress = Ingress(kind, here, tuple(replicas), issuer, issuer.issue(uri(AGENT)), process)
        _wait(ingress, answers)
        yield ingress


def agents(place: Path) -> Authority:
    key = serialization.load_pem_private_key((place / "agents-ca.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return Authority(x509.load_pem_x509_certificate((place / "agents-ca.pem").read_bytes()), key)


def _wait(ingress: Ingress, answers: int) -> None:
    """Until requests get where they should."""
    deadline = time.monotonic() + START_S
    while True:
        assert ingress.process.poll() is None, ingress.log.read_text()[-4000:]
        assert time.monotonic() < deadline, ingress.log.read_text()[-4000:]
        try:
            found = httpx2.get(f"{ingress.url}/.well-known/oauth-protected-resource/mcp/x", verify=ingress.trust())
            if found.status_code == answers:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.05)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


PLAIN = {
    **harness.ACCEPT,
    "content-type": "application/json",
    "mcp-protocol-version": "2026-07-28",
    "mcp-method": "tools/call",
    "mcp-name": "add",
}
"""The headers of a call of `add`, without a token."""


def raw(ingress: Ingress, alpn: str = "http/1.1", agent: Pair | None = None) -> ssl.SSLSocket:
    """A TLS connection to the ingress, for what no HTTP library would send."""
    context = ingress.trust(agent)
    context.set_alpn_protocols([alpn])
    plain = socket.create_connection(("127.0.0.1", ingress.place.port), timeout=20)
    return context.wrap_socket(plain, server_hostname="localhost")
