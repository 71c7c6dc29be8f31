"""The official suite: what passes against the upstream directly passes through the gateway, with everything on.

One gateway for all of it, with one upstream for each kind of server, and one more for each scenario of a client.
"""

from functools import cache

import pytest

from tests.conformance import parts, suite
from tests.conformance.__main__ import BRIDGED_TASKS, LACKING, PLAIN, TASKS, of_tasks, played, through, upstreams


@pytest.fixture(scope="module")
def behind():
    with upstreams() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(behind):
    with parts.gateway(behind) as running:
        yield running


@pytest.fixture(scope="module")
def runs(behind, gateway):
    """Directly and through the gateway, the server scenarios of a revision."""
    return cache(
        lambda revision: (
            suite.server(behind[PLAIN]["url"], revision),
            suite.server(f"{gateway.mcp}/{PLAIN}", revision),
        )
    )


@pytest.mark.parametrize(("revision", "count"), [("2025-11-25", 30), ("2026-07-28", 37)])
def test_every_required_server_scenario_passes_through_the_gateway(runs, revision, count):
    direct, through = runs(revision)

    required = [name for name, each in direct.items() if each.required]
    assert len(required) == count
    assert [(name, direct[name].why) for name in required if not direct[name].passed] == []
    assert [(name, through[name].why) for name in required if not through[name].passed] == []


def test_what_the_upstream_passes_beyond_that_passes_through_the_gateway_too(runs):
    direct, through = runs("2025-11-25")

    more = [name for name, each in direct.items() if not each.required and each.passed]
    assert more
    assert [(name, through[name].why) for name in more if not through[name].passed] == []


def test_every_scenario_of_tasks_passes_directly(behind):
    direct = of_tasks(behind[TASKS]["url"])
    assert len(direct) == 10
    assert played(direct) == direct.keys()


@pytest.mark.parametrize("upstream", [TASKS, BRIDGED_TASKS])
def test_every_scenario_of_tasks_passes_through_the_gateway_and_its_bridge(gateway, upstream):
    failed = {name: each.why for name, each in of_tasks(f"{gateway.mcp}/{upstream}").items() if not each.passed}
    assert failed.keys() == LACKING.get(upstream, frozenset()), failed


ONE_ERA = [(name, 67 - len(lacking)) for name, lacking in LACKING.items() if name != BRIDGED_TASKS]


@pytest.mark.parametrize(("upstream", "count"), ONE_ERA)
def test_clients_of_both_eras_pass_before_an_upstream_of_one_what_its_tools_let_them(gateway, upstream, count):
    runs = [suite.server(f"{gateway.mcp}/{upstream}", revision) for revision in suite.REVISIONS]

    required = {name: each for run in runs for name, each in run.items() if each.required and not each.passed}
    assert [(name, each.why) for name, each in required.items() if name not in LACKING[upstream]] == []
    assert sum(each.required and each.passed for run in runs for each in run.values()) == count


@pytest.mark.parametrize(
    ("revision", "name"), [(revision, name) for revision, names in suite.CLIENT.items() for name in names]
)
def test_the_official_client_passes_through_the_gateway(gateway, revision, name):
    assert suite.client(through(gateway), revision, name).why == ()
