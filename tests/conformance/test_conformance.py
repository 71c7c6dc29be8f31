"""The official suite: what passes against the upstream directly passes through the gateway, with everything on."""

import pytest

from tests.conformance import parts, suite
from tests.conformance.__main__ import BRIDGED, LACKING, THROUGH, server_leg, through_gateway


@pytest.fixture(scope="module")
def upstream():
    with parts.everything_server() as url:
        yield url


@pytest.mark.parametrize(("revision", "count"), [("2025-11-25", 30), ("2026-07-28", 37)])
def test_every_required_server_scenario_passes_through_the_gateway(upstream, revision, count):
    direct, through = server_leg(revision, upstream)

    required = [name for name, each in direct.items() if each.required]
    assert len(required) == count
    assert [(name, direct[name].why) for name in required if not direct[name].passed] == []
    assert [(name, through[name].why) for name in required if not through[name].passed] == []


def test_what_the_upstream_passes_beyond_that_passes_through_the_gateway_too(upstream):
    direct, through = server_leg("2025-11-25", upstream)

    more = [name for name, each in direct.items() if not each.required and each.passed]
    assert more
    assert [(name, through[name].why) for name in more if not through[name].passed] == []


@pytest.mark.parametrize(("what", "count"), [(what, 67 - len(LACKING[what])) for what in BRIDGED])
def test_clients_of_both_eras_pass_before_an_upstream_of_one_what_its_tools_let_them(what, count):
    started, settings = BRIDGED[what]
    with started() as upstream:
        runs = [through_gateway(revision, upstream, **settings) for revision in suite.REVISIONS]

    required = {name: each for run in runs for name, each in run.items() if each.required and not each.passed}
    assert [(name, each.why) for name, each in required.items() if name not in LACKING[what]] == []
    assert sum(each.required and each.passed for run in runs for each in run.values()) == count


@pytest.mark.parametrize(
    ("revision", "name"), [(revision, name) for revision, names in suite.CLIENT.items() for name in names]
)
def test_the_official_client_passes_through_the_gateway(revision, name):
    assert suite.client(THROUGH, revision, name).why == ()
