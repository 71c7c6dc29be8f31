"""The doctor on keys that only some gateways need."""

from __future__ import annotations

from gateway.cli.doctor.finding import Status

AUTHORITY = '\n[authority]\n[[authority.client]]\nid = "care-assistant"\nsecret_file = "secret"\n'


def authority(patient) -> None:
    (patient.place / "secret").write_text("synthetic-secret-of-forty-characters-long")
    patient.edit(lambda text: text + AUTHORITY)


def test_the_key_of_our_own_tokens_is_looked_for_where_they_are_issued(patient):
    _, found = patient.says()
    assert not any("our own tokens" in each.text for each in found["keys"])
    authority(patient)
    _, found = patient.says()
    assert [each.status for each in found["keys"] if "our own tokens" in each.text] == [Status.OK]


def test_an_older_directory_without_it_is_told_with_the_command_that_makes_it(patient):
    authority(patient)
    (patient.place / "keys" / "authority.key").unlink()
    code, found = patient.says()
    (fault,) = [each for each in found["keys"] if each.status is Status.FAIL]
    assert code != 0
    assert "authority.key" in fault.text
    assert fault.fix == f"phigate keys prepare -c {patient.gateway.config}"
