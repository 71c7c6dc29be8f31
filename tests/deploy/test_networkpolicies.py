"""The gateway is the only way to the upstreams: stories of who may connect to whom under the rendered policies."""

import pytest

from tests.deploy import files
from tests.deploy.networkpolicies import Cluster, Pod

NAMESPACES = ("agents", "kube-system", "ingress-nginx", "envoy-gateway-system", "monitoring")
GATEWAY = Pod("phigate", {"app.kubernetes.io/name": "phigate", "app.kubernetes.io/component": "gateway"})
MIGRATION = Pod("phigate", {"app.kubernetes.io/name": "phigate", "app.kubernetes.io/component": "migrate"})
STRAY = Pod("phigate", {"app": "debug"})
CLINIC = Pod("clinic", {"app.kubernetes.io/name": "clinic"})
DATABASE = Pod("databases", {"app.kubernetes.io/name": "postgresql"})
AGENT = Pod("agents", {"app": "agent"})
LIAR = Pod("agents", dict(GATEWAY.labels))
DNS = Pod("kube-system", {"k8s-app": "kube-dns"})
NGINX = Pod("ingress-nginx", {"app.kubernetes.io/name": "ingress-nginx"})
ENVOY = Pod("envoy-gateway-system", {"app.kubernetes.io/name": "envoy", "app.kubernetes.io/component": "proxy"})
PROMETHEUS = Pod("monitoring", {"app.kubernetes.io/name": "prometheus"})
COLLECTOR = Pod("monitoring", {"app.kubernetes.io/name": "opentelemetry-collector"})
PROVIDER = Pod("", {}, "203.0.113.7")
PROVIDER_6 = Pod("", {}, "2001:db8::7")
INSIDE = {
    "metadata": "169.254.169.254",
    "metadata by IPv6": "fd00:ec2::254",
    "metadata by NAT64": "64:ff9b::a9fe:a9fe",
    "API server": "10.96.0.1",
    "node": "192.168.1.5",
    "link-local": "fe80::1",
}
STRANGER = Pod("", {}, "198.51.100.9")


def cluster(overlay):
    return Cluster.of(files.overlay(overlay), *NAMESPACES)


def test_an_agent_cannot_call_the_upstream_past_the_gateway():
    assert not cluster("demo").allows(AGENT, CLINIC, 8000)


def test_a_pod_that_calls_itself_the_gateway_in_another_namespace_cannot_call_the_upstream():
    assert not cluster("demo").allows(LIAR, CLINIC, 8000)


def test_the_ingress_cannot_be_pointed_at_the_upstream():
    assert not cluster("demo").allows(NGINX, CLINIC, 8000)


def test_another_pod_of_the_gateways_namespace_cannot_call_the_upstream():
    assert not cluster("demo").allows(MIGRATION, CLINIC, 8000)
    assert not cluster("demo").allows(STRAY, CLINIC, 8000)


def test_the_gateway_can_call_the_upstream_at_its_port_and_no_other():
    assert cluster("demo").allows(GATEWAY, CLINIC, 8000)
    assert not cluster("demo").allows(GATEWAY, CLINIC, 22)
    assert not cluster("demo").allows(GATEWAY, CLINIC, 8000, "UDP")


def test_an_agent_cannot_call_the_gateway_past_the_ingress():
    for overlay in files.OVERLAYS:
        assert not cluster(overlay).allows(AGENT, GATEWAY, 8080), overlay
        assert not cluster(overlay).allows(STRANGER, GATEWAY, 8080), overlay


@pytest.mark.parametrize(
    ("overlay", "proxy", "other"),
    [("ingress", NGINX, ENVOY), ("demo", NGINX, ENVOY), ("gateway-api", ENVOY, NGINX), ("production", ENVOY, NGINX)],
    ids=["ingress", "demo", "gateway-api", "production"],
)
def test_the_ingress_of_the_overlay_can_call_the_gateway_and_no_other_can(overlay, proxy, other):
    assert cluster(overlay).allows(proxy, GATEWAY, 8080)
    assert not cluster(overlay).allows(other, GATEWAY, 8080)
    assert not cluster(overlay).allows(Pod(proxy.namespace, {"app": "other"}), GATEWAY, 8080)


def test_the_gateway_and_its_migration_reach_the_database_and_nobody_else_does():
    demo = cluster("demo")

    assert demo.allows(GATEWAY, DATABASE, 5432)
    assert demo.allows(MIGRATION, DATABASE, 5432)
    for other in (AGENT, LIAR, CLINIC, STRAY, NGINX):
        assert not demo.allows(other, DATABASE, 5432), other


def test_the_database_reaches_nobody():
    for target in (GATEWAY, CLINIC, PROVIDER, DNS):
        assert not cluster("demo").allows(DATABASE, target, 443)


@pytest.mark.parametrize("overlay", files.OVERLAYS)
def test_the_gateway_resolves_names_and_asks_the_identity_provider(overlay):
    assert cluster(overlay).allows(GATEWAY, DNS, 53, "UDP")
    assert cluster(overlay).allows(GATEWAY, PROVIDER, 443)
    assert cluster(overlay).allows(GATEWAY, PROVIDER_6, 443)


@pytest.mark.parametrize("overlay", files.OVERLAYS)
def test_a_gateway_that_was_taken_over_reaches_neither_metadata_nor_api_server_nor_other_ports(overlay):
    where = cluster(overlay)

    for what, address in INSIDE.items():
        for port in (80, 443):
            assert not where.allows(GATEWAY, Pod("", {}, address), port), what
    assert not where.allows(GATEWAY, STRANGER, 25)
    assert not where.allows(GATEWAY, AGENT, 8080)


@pytest.mark.parametrize("overlay", files.OVERLAYS)
def test_a_pod_that_belongs_to_nothing_can_only_resolve_names(overlay):
    where = cluster(overlay)

    assert where.allows(STRAY, DNS, 53, "UDP")
    for target, port in ((PROVIDER, 443), (GATEWAY, 8080), (AGENT, 80)):
        assert not where.allows(STRAY, target, port)


def test_prometheus_reads_metrics_and_cannot_call_tools():
    production = cluster("production")

    assert production.allows(PROMETHEUS, GATEWAY, 9464)
    assert not production.allows(PROMETHEUS, GATEWAY, 8080)
    assert not production.allows(ENVOY, GATEWAY, 9464)
    assert not cluster("gateway-api").allows(PROMETHEUS, GATEWAY, 9464)


def test_traces_go_to_the_collector_where_the_component_is_used():
    assert cluster("production").allows(GATEWAY, COLLECTOR, 4318)
    assert not cluster("gateway-api").allows(GATEWAY, COLLECTOR, 4318)


def test_without_policies_everything_is_open_so_the_evaluator_can_tell():
    objects = tuple(each for each in files.overlay("demo") if each["kind"] != "NetworkPolicy")

    assert Cluster.of(objects, *NAMESPACES).allows(AGENT, CLINIC, 8000)
