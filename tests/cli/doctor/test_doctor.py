"""`phigate doctor` as a whole: what it says of a gateway that is well, and that it leaves no trace."""

from __future__ import annotations

import time

import pytest

from gateway.cli.doctor.finding import Status, warn, worst
from gateway.cli.main import main
from tests.e2e import harness

LOOKED_AT = {
    "configuration",
    "versions",
    "open files",
    "port",
    "public_url",
    "keys",
    "evidence store",
    "clock",
    "policy",
    "upstream ward",
}


def test_a_gateway_that_never_served_is_well_and_stays_as_it_was(patient, provider):
    before = patient.files()

    code, found = patient.says()

    assert code == 0, found
    assert set(found) == LOOKED_AT | {f"issuer {provider.url}"}
    assert all(one.status is Status.OK for each in found.values() for one in each), found
    assert patient.files() == before


def test_a_gateway_that_serves_or_has_stopped_is_looked_at_without_a_leaf_or_a_file(patient):
    patient.gateway.start()
    before = patient.gateway.leaves()

    code, found = patient.says()

    assert code == 0, found
    assert found["port"][0].text.endswith("and is ready")
    assert any("put in force last, less than a day ago" in one.text for one in found["policy"])
    patient.gateway.stop()
    for beside in ("-wal", "-shm"):  # Left by our own reading.
        (patient.place / f"evidence.db{beside}").unlink(missing_ok=True)
    left = patient.files()

    code, _ = patient.says()

    assert code == 0
    assert patient.files() == left
    after = patient.gateway.leaves()
    assert after[: len(before)] == before
    assert {leaf["type"] for leaf in after[len(before) :]} <= {"session.close"}


def test_every_fault_of_the_configuration_is_told_with_its_fix(patient):
    patient.edit(lambda text: text.replace("workers = 1", "workers = 0\nwrokers = 2"))

    code, found = patient.says()

    assert code == 2
    assert [one.status for one in found["configuration"]] == [Status.FAIL, Status.FAIL]
    assert "phigate.toml:4: gateway.wrokers: is not a setting" in " ".join(one.text for one in found["configuration"])
    assert any("did you mean 'workers'?" in one.fix for one in found["configuration"])
    assert set(found) == {"configuration"}


def test_keys_that_others_may_read_are_told_with_the_command_that_closes_them(patient):
    (patient.place / "keys" / "mask.key").chmod(0o644)

    code, found = patient.says()

    assert code == 2
    assert found["configuration"][0].fix == f"chmod 600 {patient.place}/keys/mask.key"


def test_a_check_that_does_not_end_is_ended_and_named_while_the_others_are_told(patient):
    silent = harness.Upstream("ward", {"command": "sleep", "args": ["600"]})
    patient.gateway = harness.prepare(patient.place / "other", patient.gateway.issuer, [silent])
    began = time.monotonic()

    code, found = patient.says("--deadline", "3")

    assert time.monotonic() - began < 20
    assert code == 1
    assert found["upstream ward"][0].text == "The check did not end within 3 s."
    assert found["versions"][0].status is Status.OK


def test_people_are_told_in_lines_that_can_be_copied(patient, capsys):
    patient.edit(lambda text: text.replace(patient.gateway.issuer.url, "http://127.0.0.1:9"))

    assert main(["doctor", "-c", str(patient.gateway.config)]) == 1

    told = capsys.readouterr().out
    assert "OK    configuration   no faults: 1 worker, 1 issuer, 1 upstream, 0 aggregates" in told
    assert "FAIL  issuer http://127.0.0.1:9  The issuer http://127.0.0.1:9 could not be reached" in told
    assert "\n  " + " " * 20 + "Fix: from this machine: curl -i http://127.0.0.1:9/.well-known/openid-config" in told
    assert told.splitlines()[-1].startswith("1 failed, 0 to be looked at, ")


def test_a_warning_alone_is_no_failure():
    assert worst([warn("x", fix="y")]) is Status.WARN
    assert worst([]) is Status.OK


@pytest.mark.parametrize("option", ["--help"])
def test_its_exit_codes_are_in_its_help(option, capsys):
    with pytest.raises(SystemExit):
        main(["doctor", option])

    assert "0: nothing failed; 1: something did; 2: the configuration" in " ".join(capsys.readouterr().out.split())
