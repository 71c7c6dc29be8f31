"""`phigate keys backup` and `restore`."""

from __future__ import annotations

import getpass

import pytest

from gateway.cli.main import main
from gateway.store import keys as keystore

PASSPHRASE = "five synthetic words in a row"


@pytest.fixture
def place(tmp_path):
    keystore.generate(tmp_path / "keys", origin="test.example/phigate")
    (tmp_path / "passphrase").write_text(PASSPHRASE + "\nnot this line\n")
    return tmp_path


def test_keys_are_saved_and_restored_with_a_passphrase_from_a_file(place, capsys):
    secret = ["--passphrase-file", str(place / "passphrase")]

    assert main(["keys", "backup", str(place / "saved"), "--keys", str(place / "keys"), *secret]) == 0
    assert main(["keys", "restore", str(place / "saved"), str(place / "again"), *secret]) == 0

    said = capsys.readouterr().out
    assert "6 files, read again and compared" in said
    assert "the keys of the log test.example/phigate, complete" in said
    assert keystore.load(place / "again").mask_token == keystore.load(place / "keys").mask_token


def test_whoever_types_the_passphrase_types_it_twice(place, monkeypatch, capsys):
    typed = iter([PASSPHRASE, "another one, by mistake", PASSPHRASE, PASSPHRASE, PASSPHRASE])
    monkeypatch.setattr(getpass, "getpass", lambda _: next(typed))
    save = ["keys", "backup", str(place / "saved"), "--keys", str(place / "keys")]

    assert main(save) == 2
    assert "not the same" in capsys.readouterr().err
    assert main(save) == 0
    assert main(["keys", "restore", str(place / "saved"), str(place / "again")]) == 0


def test_a_passphrase_file_that_is_not_there_is_told(place, capsys):
    words = ["keys", "backup", str(place / "saved"), "--keys", str(place / "keys"), "--passphrase-file", "/none"]

    assert main(words) == 2
    assert "cannot be read as text" in capsys.readouterr().err


def test_a_directory_from_before_there_were_tokens_of_our_own_gets_the_key_that_signs_them(place, capsys):
    (place / "keys" / "authority.key").unlink()
    words = ["keys", "prepare", "--keys", str(place / "keys"), "--months", "1"]

    assert main(words) == 0
    made = keystore.load(place / "keys").authority
    assert main(words) == 0

    assert made is not None
    assert keystore.load(place / "keys").authority == made
    assert "2 keys made" in capsys.readouterr().out
