"""One gateway for each kind of ingress, on one store; and the ingresses before them."""

from __future__ import annotations

import pytest
import trio

from tests.e2e import harness, issuer, sdk_server
from tests.e2e.harness import Upstream
from tests.ingress import parts
from tests.ingress.parts import KINDS


@pytest.fixture(scope="session")
def people():
    """The issuer that the gateways trust."""
    with issuer.running() as running:
        yield running


@pytest.fixture(scope="session")
def ward():
    """The official SDK's server with one tool for each thing MCP can do."""
    with harness.python_program("-m", "tests.e2e.sdk_server") as said:
        yield Upstream("ward", {"url": said["mcp"]})


@pytest.fixture(scope="session")
def ports():
    """Where each kind of ingress listens: as it is shipped, and changed."""
    return {name: (harness.free_port(), harness.free_port()) for name in KINDS}


@pytest.fixture(scope="session")
def fleet(tmp_path_factory, people, ward, ports):
    """The gateways by kind: each is handed certificates as that kind writes them."""
    headers = [kind.header for kind in KINDS.values()]
    place = tmp_path_factory.mktemp("fleet")
    settings = {"keepalive_s": 1}
    with parts.gateways(
        place, people, [ward], [port for each in ports.values() for port in each], *headers, settings=settings
    ) as gateways:
        gateways[0].phi.add(sdk_server.SSN)
        trio.run(harness.list_tools, gateways[0], "analyst", "ward")
        yield dict(zip(KINDS, gateways, strict=True))


@pytest.fixture
def put(tmp_path, fleet, ports):
    """`put(kind, *changes)`: that ingress, changed, before its own gateway alone, for one block."""

    def started(kind, *changes, **more):
        alone = [fleet[kind.name]] * 2
        return parts.in_front(kind, tmp_path / "ingress", alone, ports[kind.name][1], changes, **more)

    return started


@pytest.fixture(params=KINDS, scope="module")
def ingress(request, tmp_path_factory, fleet, ports):
    """Each ingress, as it is shipped, before two gateways."""
    kind = KINDS[request.param]
    others = [gateway for name, gateway in fleet.items() if name != kind.name]
    place = tmp_path_factory.mktemp(kind.name)
    with parts.in_front(kind, place, [fleet[kind.name], others[0]], ports[kind.name][0]) as running:
        yield running


@pytest.fixture(params=KINDS)
def kind(request):
    """Each kind of ingress."""
    return KINDS[request.param]
