"""How the parts are put together, where it is more than handing over what the configuration says."""

from pathlib import Path

import pytest

from gateway import doors
from gateway.config.upstream import UpstreamConfig
from gateway.upstream.base import HttpSettings, StdioSettings


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
