"""Upstreams that are there, and in each way not."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from gateway.cli.doctor import upstreams
from gateway.cli.doctor.finding import Status
from gateway.core.types import Era
from tests.cli.doctor.conftest import bad, http_server


def program(patient, *command, **changed):
    return replace(patient.config.upstreams[0], command=tuple(command), **changed)


@pytest.mark.parametrize("era", [None, Era.MODERN, Era.LEGACY])
async def test_a_program_of_the_official_sdk_is_well_in_either_era(patient, era):
    (found,) = await upstreams.check(patient.config, replace(patient.config.upstreams[0], era=era))

    assert found.status is Status.OK
    assert "speaks the modern era" in found.text


async def test_a_program_that_ends_at_once_is_told_with_the_command_to_try(patient):
    upstream = program(patient, sys.executable, "-c", "raise SystemExit(3)")

    found = bad(await upstreams.check(patient.config, upstream))

    assert "exit code 3" in found.text
    assert found.fix.startswith("run it by hand and see what it says: ")
    assert found.fix.endswith("-c 'raise SystemExit(3)'")


async def test_an_era_that_the_upstream_does_not_speak_is_told(patient):
    old = (
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    asked = json.loads(line)\n"
        "    if asked.get('method') == 'initialize':\n"
        "        told = {'protocolVersion': '2025-11-25', 'capabilities': {},"
        " 'serverInfo': {'name': 'old', 'version': '1'}}\n"
        "        answer = {'jsonrpc': '2.0', 'id': asked['id'], 'result': told}\n"
        "    elif 'id' in asked:\n"
        "        error = {'code': -32601, 'message': 'no such method'}\n"
        "        answer = {'jsonrpc': '2.0', 'id': asked['id'], 'error': error}\n"
        "    else:\n"
        "        continue\n"
        "    print(json.dumps(answer), flush=True)\n"
    )
    upstream = program(patient, sys.executable, "-c", old)

    (well,) = await upstreams.check(patient.config, upstream)
    found = bad(await upstreams.check(patient.config, replace(upstream, era=Era.MODERN)))

    assert well.text == "it answers, and speaks the legacy era"
    assert found.fix.startswith('era = "legacy" in [[upstream]] ward')


async def test_a_server_that_is_down_is_told(patient):
    upstream = replace(patient.config.upstreams[0], command=(), url="http://127.0.0.1:9/mcp?key=secret-word")

    found = bad(await upstreams.check(patient.config, upstream))

    assert found.text.startswith("Upstream ward: ")
    assert "curl -i http://127.0.0.1:9/mcp" in found.fix
    assert "secret-word" not in f"{found.text} {found.fix}"


async def test_a_server_that_wants_credentials_is_told_with_the_setting_for_them(patient):
    async with http_server(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n") as url:
        upstream = replace(patient.config.upstreams[0], command=(), url=url)
        found = bad(await upstreams.check(patient.config, upstream))

    assert "401" in found.text
    assert "headers_env" in found.fix
