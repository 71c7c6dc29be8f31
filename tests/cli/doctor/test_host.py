"""The machine: too few files, a port that is taken, a clock that is set."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from gateway.cli.doctor import host, ingress
from gateway.cli.doctor.finding import Status
from tests.cli.doctor.conftest import bad, http_server
from tests.e2e import harness
from tests.identity import certificates


@pytest.mark.parametrize(("hard", "status"), [(512, "WARN"), (20_000, "OK")])
def test_a_limit_of_files_that_is_too_low_for_its_calls_is_a_warning(patient, hard, status):
    code = (
        "import sys, trio; from pathlib import Path; from gateway import config; from gateway.cli.doctor import host\n"
        "(found,) = trio.run(host.descriptors, config.load(Path(sys.argv[1])))\n"
        "print(found.status.value, found.text, found.fix, sep='|')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(patient.gateway.config)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard)),
        capture_output=True,
        text=True,
        check=False,
    )

    said = done.stdout.strip().split("|")
    assert said[0] == status, done.stderr
    if status == "WARN":
        assert said[1] == "A worker may open 512 files, and 1280 are used by max_in_flight calls."
        assert "LimitNOFILE" in said[2]


async def test_a_port_that_another_program_holds_is_a_failure(patient):
    with socket.create_server(("127.0.0.1", patient.gateway.port)) as other:
        other.settimeout(0)
        found = bad(await host.port(patient.config))

    assert found.status is Status.FAIL
    assert found.text.startswith("Another program listens on 127.0.0.1:")
    assert f"sport = :{patient.gateway.port}" in found.fix


async def test_an_address_that_is_not_this_machines_is_a_failure(patient):
    patient.edit(
        lambda text: text.replace(
            f'listen = "127.0.0.1:{patient.gateway.port}"',
            f'listen = "192.0.2.1:{patient.gateway.port}"\npublic_url = "https://gw.example"',
        ).replace(f'url = "{patient.gateway.issuer.url}"', 'url = "https://idp.example"')
    )

    found = bad(await host.port(patient.config))

    assert "Cannot assign requested address" in found.text
    assert "`listen`" in found.fix


@pytest.mark.parametrize(("gained", "status"), [(0.0, Status.OK), (-3600.0, Status.WARN), (2.0, Status.WARN)])
def test_a_clock_that_is_set_meanwhile_is_noticed(gained, status):
    (found,) = host.stepped(host.Clocks(1000.0, 50.0), host.Clocks(1003.0 + gained, 53.0))

    assert found.status is status


async def test_a_public_url_that_nobody_can_look_up_is_a_warning(patient):
    line = f'listen = "127.0.0.1:{patient.gateway.port}"'
    patient.edit(lambda text: text.replace(line, f'{line}\npublic_url = "https://gateway.invalid"'))

    found = bad(await ingress.check(patient.config))

    assert found.status is Status.WARN
    assert "gateway.invalid of public_url has no address" in found.text
    assert "DNS record" in found.fix


def with_metrics(patient, port):
    patient.edit(lambda text: text + f'\n[metrics]\nlisten = "127.0.0.1:{port}"\n')


async def test_a_port_of_metrics_that_is_taken_is_a_failure_and_a_free_one_is_not(patient):
    with_metrics(patient, harness.free_port())
    (free,) = await host.metrics(patient.config)
    async with http_server(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi") as url:
        taken = url.rpartition(":")[2].partition("/")[0]
        patient.edit(lambda text: text.rpartition("\n[metrics]")[0])
        with_metrics(patient, taken)
        found = bad(await host.metrics(patient.config))

    assert free.status is Status.OK
    assert found.text == f"Metrics cannot be served on 127.0.0.1:{taken}: Address already in use."
    assert "[metrics]" in found.fix


@pytest.mark.parametrize(("days", "status"), [(-1, Status.FAIL), (30, Status.WARN), (300, Status.OK)])
async def test_the_life_of_client_authorities_is_told(patient, days, status):
    until = datetime.now(UTC) + timedelta(days=days, hours=1)
    certificates.authority("agents.example", begins=until - timedelta(days=365), ends=until).write(
        patient.place, "cert"
    )
    table = (
        '\ntrusted_proxies = ["127.0.0.1"]\n[gateway.mtls]\nname = "agents"\nheader = "client-cert"\nca = "cert.pem"\n'
    )
    patient.edit(lambda text: text.replace("\ndrain_s = 10", "\ndrain_s = 10" + table, 1))

    (found,) = await ingress.authorities(patient.config)

    assert found.status is status
    assert "agents.example" in found.text
