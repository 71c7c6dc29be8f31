"""How the parts are put together, where it is more than handing over what the configuration says."""

from pathlib import Path

import pytest
import trio

from gateway import config, doors
from gateway.config.upstream import UpstreamConfig
from gateway.service import open_gateway
from gateway.upstream.base import HttpSettings, StdioSettings
from tests.e2e import harness, issuer
from tests.fakes.engines import engines_left


def upstream(**changes):
    given = {"name": "clinic", "url": "http://127.0.0.1:9/mcp", "command": (), "cwd": Path("/"), "environment": {}}
    given |= {"launcher": (), "shared": False, "max_memory_bytes": None, "max_cpu_s": None}
    given |= {
        "headers": {},
        "labels": {},
        "required_scopes": (),
        "connect_s": 5,
        "idle_s": 60,
        "call_s": 300,
        "max_response_bytes": 1 << 20,
    }
    return UpstreamConfig(
        **{**given, "max_depth": 64, "era": None, "fhir": {}, "fhir_bases": (), "sql": {}, "sql_dialect": "", **changes}
    )


@pytest.mark.parametrize("max_in_flight", [1, 512, 5000])
def test_one_principal_takes_at_most_half_of_the_connections_to_an_upstream(max_in_flight):
    settings = doors.wire_settings(upstream(), max_in_flight)

    assert isinstance(settings, HttpSettings)
    assert max_in_flight <= settings.bounds.max_connections / 2


def test_how_many_programs_may_run_does_not_hang_on_how_many_requests_may():
    settings = doors.wire_settings(upstream(url=None, command=("server",)), 1)

    assert isinstance(settings, StdioSettings)
    assert settings.bounds.max_connections == 512


class Trouble(Exception):
    """What ends a gateway that was not told to end."""


@pytest.mark.parametrize("trouble", [None, Trouble()], ids=["as told", "in trouble"])
def test_a_gateway_that_ends_leaves_no_engine_behind(tmp_path, trouble):
    """Whatever holds its parts: they are circles, and the collector finds those on any thread."""
    with issuer.running() as people:
        made = harness.prepare(tmp_path, people, [harness.Upstream("ward", {"url": "http://127.0.0.1:9/mcp"})])
        settings = config.load(made.config)

    async def run():
        async with open_gateway(settings, admit=lambda _: None):
            if trouble is not None:
                raise trouble

    def work():
        if trouble is None:
            trio.run(run)
        else:
            with pytest.raises(ExceptionGroup) as raised:
                trio.run(run)
            assert raised.group_contains(Trouble)

    assert engines_left(work) == []
