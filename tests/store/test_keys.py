"""Keys: made once, private, and refused when they are not."""

import os
import stat

import pytest

from gateway.core.errors import ConfigFault, EvidenceFault
from gateway.core.types import Principal
from gateway.store import keys as keystore
from gateway.store.kms import FileKms, PreparedKms, months_left, prepare
from gateway.store.sequencer import EvidenceLog
from tests.fakes.evidence import ORIGIN, Clock, now

ALICE = Principal("https://id.example", "alice")


def make_keys(directory):
    return keystore.generate(directory / "keys", origin=ORIGIN)


def test_keys_are_private_and_read_back_as_made(tmp_path):
    made = make_keys(tmp_path)
    read = keystore.load(tmp_path / "keys")

    assert (made.signer, made.pseudonym, made.session_seal, made.mask_token) == (
        read.signer,
        read.pseudonym,
        read.session_seal,
        read.mask_token,
    )
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "keys").glob("*.key")} == {0o600}
    assert made.origin == ORIGIN


def test_no_secret_is_shown(tmp_path):
    keys = make_keys(tmp_path)

    assert repr(keys) == "Keys()"
    assert len({keys.pseudonym, keys.session_seal, keys.mask_token, keys.signer.seed}) == 4


def test_keys_are_never_overwritten(tmp_path):
    make_keys(tmp_path)

    with pytest.raises(ConfigFault, match="never overwritten"):
        make_keys(tmp_path)


@pytest.mark.parametrize("name", ["", "log.key", "mask.key", "kek-2026-11.key"])
def test_keys_that_others_may_read_are_refused_with_the_command_that_closes_them(tmp_path, name):
    make_keys(tmp_path).kms.current(Clock()())
    loose = tmp_path / "keys" / name
    loose.chmod(loose.stat().st_mode | 0o040)

    with pytest.raises(ConfigFault, match=r"chmod 700 .* && chmod 600"):
        keystore.load(tmp_path / "keys")


def test_a_missing_directory_and_a_damaged_key_are_told_by_name(tmp_path):
    with pytest.raises(ConfigFault, match="phigate init"):
        keystore.load(tmp_path / "keys")
    make_keys(tmp_path)
    (tmp_path / "keys" / "mask.key").write_text("AAAA")
    with pytest.raises(ConfigFault, match=r"mask\.key"):
        keystore.load(tmp_path / "keys")


def test_a_public_key_that_is_not_the_private_ones_half_is_refused(tmp_path):
    make_keys(tmp_path)
    other = keystore.generate(tmp_path / "other", origin=ORIGIN)
    (tmp_path / "keys" / keystore.VKEY).write_text(other.signer.verifier.vkey)

    with pytest.raises(ConfigFault, match="not the public half"):
        keystore.load(tmp_path / "keys")


@pytest.mark.parametrize("text", [None, "no vkey", "\xff"])
def test_a_vkey_file_that_is_none_is_refused(tmp_path, text):
    if text is not None:
        (tmp_path / "log.vkey").write_bytes(text.encode("latin-1"))

    with pytest.raises(ConfigFault):
        keystore.load_verifier(tmp_path / "log.vkey")


@pytest.mark.parametrize("origin", ["", "two words", "a+b"])
def test_an_origin_that_cannot_name_a_log_is_refused(tmp_path, origin):
    with pytest.raises(ConfigFault, match="cannot name a log"):
        keystore.generate(tmp_path / "keys", origin=origin)


def test_a_pseudonym_is_stable_and_tells_issuers_apart(tmp_path):
    keys = make_keys(tmp_path)

    assert keys.actor(ALICE) == keys.actor(Principal("https://id.example", "alice", ("other groups",)))
    assert len(keys.actor(ALICE)) == 32
    assert keys.actor(ALICE) != keys.actor(Principal("https://id.example/", "alice"))
    assert keys.actor(Principal("ab", "c")) != keys.actor(Principal("a", "bc"))


def test_a_pseudonym_is_remembered_for_its_own_keys_and_use_only(tmp_path):
    keys, others = make_keys(tmp_path), keystore.generate(tmp_path / "others", origin="elsewhere.example/log")

    assert keys.actor(ALICE) != others.actor(ALICE)
    assert keys.actor(ALICE) != keys.usage_key(ALICE)
    assert keys.session_key("alice") != keys.token("alice", "")


def test_each_month_has_its_own_wrapping_key(tmp_path):
    kms, clock = make_keys(tmp_path).kms, Clock()
    november = kms.current(clock())
    clock.passes(10 * 86_400)
    december = kms.current(clock())

    assert (november, december) == ("kek:2026-11", "kek:2026-12")
    wrapped = kms.wrap(november, b"k" * 32, b"place")
    assert kms.unwrap(november, wrapped, b"place") == b"k" * 32
    for kek, aad in ((december, b"place"), (november, b"elsewhere")):
        with pytest.raises(EvidenceFault, match="cannot be unwrapped"):
            kms.unwrap(kek, wrapped, aad)


def test_two_processes_that_need_a_new_month_agree_on_its_key(tmp_path):
    make_keys(tmp_path)
    one, two = FileKms(tmp_path / "keys"), FileKms(tmp_path / "keys")
    month = one.current(Clock()())

    assert two.unwrap(two.current(Clock()()), one.wrap(month, b"k" * 32, b""), b"") == b"k" * 32


def test_a_new_month_whose_key_cannot_be_written_is_told(tmp_path):
    with pytest.raises(EvidenceFault, match="wrapping key kek:2026-11 cannot be made"):
        FileKms(tmp_path / "not there").current(Clock()())


def test_a_destroyed_wrapping_key_is_told_as_such(tmp_path):
    kms = make_keys(tmp_path).kms
    wrapped = kms.wrap(kms.current(Clock()()), b"k" * 32, b"")
    (tmp_path / "keys" / "kek-2026-11.key").unlink()

    with pytest.raises(EvidenceFault, match="unreadable, intact"):
        FileKms(tmp_path / "keys").unwrap("kek:2026-11", wrapped, b"")


def test_a_key_id_from_the_store_cannot_name_another_file(tmp_path):
    with pytest.raises(EvidenceFault, match="not of the file key service"):
        make_keys(tmp_path).kms.unwrap("kek:../../etc/passwd", b"", b"")


def test_keys_are_made_ahead_for_months_and_those_that_are_there_are_left_alone(tmp_path):
    make_keys(tmp_path).kms.current(Clock()())
    directory = tmp_path / "keys"
    november = (directory / "kek-2026-11.key").read_bytes()

    assert prepare(directory, Clock()(), 3) == ["kek:2026-12", "kek:2027-01"]
    assert prepare(directory, Clock()(), 3) == []
    assert (directory / "kek-2026-11.key").read_bytes() == november
    assert months_left(directory, Clock()()) == 3
    (directory / "kek-2026-12.key").unlink()
    assert months_left(directory, Clock()()) == 1


def test_replicas_make_no_key_and_say_what_does(tmp_path):
    shared = make_keys(tmp_path).kms.shared()

    with pytest.raises(EvidenceFault, match="phigate keys prepare"):
        shared.current(Clock()())
    assert list((tmp_path / "keys").glob("kek-*")) == []
    prepare(tmp_path / "keys", Clock()(), 1)
    assert shared.current(Clock()()) == "kek:2026-11"
    assert isinstance(shared.shared(), PreparedKms)


async def test_attack_another_key_of_the_same_month_is_refused_by_name(tmp_path, store):
    keys = make_keys(tmp_path)
    prepare(tmp_path / "keys", now(), 2)
    async with EvidenceLog.open(store, keys, now=now):
        pass
    for file in (tmp_path / "keys").glob("kek-*"):
        file.unlink()
    prepare(tmp_path / "keys", now(), 2)

    with pytest.raises(EvidenceFault, match=rf"wrapping key kek:{now():%Y-%m} of this keys directory is not the one"):
        async with EvidenceLog.open(store, keystore.load(tmp_path / "keys"), now=now):
            pass


def test_what_is_mounted_read_only_is_read_through_our_group_and_closed_to_others(tmp_path, monkeypatch):
    make_keys(tmp_path)
    directory = tmp_path / "keys"
    directory.chmod(0o777)
    for file in directory.glob("*.key"):
        file.chmod(0o440)
    assert directory in keystore.loose(directory)

    class Mounted:
        f_flag = os.ST_RDONLY

    monkeypatch.setattr(os, "statvfs", lambda _: Mounted)
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    assert keystore.loose(directory) == []
    (directory / "log.key").chmod(0o444)
    assert keystore.loose(directory) == [directory / "log.key"]
