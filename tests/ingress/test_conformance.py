"""The official MCP suite passes through each ingress: one revision each here, both by `make ingress`."""

import pytest

from tests.conformance import parts, suite
from tests.ingress import conformance
from tests.ingress.parts import KINDS

REVISION = dict(zip(KINDS, ("2026-07-28", "2026-07-28", "2025-11-25"), strict=True))
COUNT = {"2025-11-25": 30, "2026-07-28": 37}


@pytest.fixture(scope="module")
def urls(tmp_path_factory, people):
    place = tmp_path_factory.mktemp("conformance")
    with parts.everything_server() as upstream, conformance.through(place, people, upstream) as through:
        yield through


@pytest.mark.parametrize("name", KINDS)
def test_every_required_server_scenario_passes_through_the_ingress(urls, name):
    found = suite.server(urls[name], REVISION[name]).values()

    assert [(each.name, each.why) for each in found if each.required and not each.passed] == []
    assert sum(each.required for each in found) == COUNT[REVISION[name]]
