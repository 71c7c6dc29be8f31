"""The keys under a passphrase: whole or not at all, and of no use without it."""

from __future__ import annotations

import shutil
import stat

import pytest

from gateway.core.errors import ConfigFault
from gateway.store import keys_backup
from tests.fakes.evidence import make_keys, now

PASSPHRASE = "five synthetic words in a row"


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """Keys and their backup, made once: each guess of a passphrase is meant to cost half a second."""
    place = tmp_path_factory.mktemp("once")
    make_keys(place).kms.current(now())
    keys_backup.write(place / "keys", place / "keys.backup", PASSPHRASE)
    return place


@pytest.fixture
def keys(once, tmp_path):
    return shutil.copytree(once / "keys", tmp_path / "keys")


@pytest.fixture
def saved(once, tmp_path):
    return shutil.copy(once / "keys.backup", tmp_path / "keys.backup")


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_what_is_restored_is_what_was_there_and_as_private(keys, saved, tmp_path):
    restored = keys_backup.restore(saved, tmp_path / "again", PASSPHRASE)

    assert contents(tmp_path / "again") == contents(keys)
    assert restored.origin == "example.org/log"
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "again").glob("*.key")} == {0o600}
    assert stat.S_IMODE((tmp_path / "again").stat().st_mode) == 0o700


def test_the_file_holds_no_key_in_the_clear_and_only_its_owner_can_read_it(keys, saved):
    data = saved.read_bytes()

    assert all(secret.read_bytes().strip() not in data for secret in keys.glob("*.key"))
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600


def test_two_backups_of_the_same_keys_have_nothing_in_common(keys, saved, tmp_path):
    keys_backup.write(keys, tmp_path / "second", PASSPHRASE)

    assert saved.read_bytes()[24:64] != (tmp_path / "second").read_bytes()[24:64]


def test_another_passphrase_opens_nothing(saved, tmp_path):
    with pytest.raises(ConfigFault, match="the passphrase is another") as raised:
        keys_backup.restore(saved, tmp_path / "again", PASSPHRASE + "!")

    assert PASSPHRASE not in raised.value.detail
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("place", [0, 30, 45, 60, -1])
def test_one_changed_byte_anywhere_is_noticed(saved, tmp_path, place):
    data = bytearray(saved.read_bytes())
    data[place] ^= 1
    saved.write_bytes(data)

    with pytest.raises(ConfigFault, match=r"does not open|is no backup of keys"):
        keys_backup.restore(saved, tmp_path / "again", PASSPHRASE)


def test_a_file_that_was_cut_off_is_noticed(saved):
    saved.write_bytes(saved.read_bytes()[:30])

    with pytest.raises(ConfigFault, match="not whole"):
        keys_backup.read(saved, PASSPHRASE)


def test_keys_and_backups_are_never_overwritten(keys, saved):
    before = contents(keys)

    with pytest.raises(ConfigFault, match="is not empty"):
        keys_backup.restore(saved, keys, PASSPHRASE)
    with pytest.raises(ConfigFault, match="exists"):
        keys_backup.write(keys, saved, PASSPHRASE)

    assert contents(keys) == before


def test_half_a_set_of_keys_is_no_backup(keys, tmp_path):
    (keys / "mask.key").unlink()

    with pytest.raises(ConfigFault, match=r"mask\.key"):
        keys_backup.write(keys, tmp_path / "half", PASSPHRASE)

    assert not (tmp_path / "half").exists()


def test_a_short_passphrase_is_refused(keys, tmp_path):
    with pytest.raises(ConfigFault, match="shorter than 12"):
        keys_backup.write(keys, tmp_path / "weak", "hunter2")
