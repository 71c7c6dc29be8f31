"""`phigate init` makes a directory that can be served, and writes over nothing."""

from __future__ import annotations

import argparse
import re
import shutil
import stat
import subprocess
import sys
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import config
from gateway.cli import init
from gateway.core.errors import ConfigFault
from gateway.core.policy import bundle
from gateway.pdp import loader
from gateway.store import keys


def run(*words) -> int:
    parser = argparse.ArgumentParser()
    init.add(parser.add_subparsers())
    arguments = parser.parse_args(["init", *map(str, words)])
    return arguments.run(arguments)


def test_what_init_writes_passes_every_check_of_the_configuration(tmp_path):
    assert run(tmp_path) == 0
    made = config.load(tmp_path / "phigate.toml")
    assert made.gateway.public_url == "http://127.0.0.1:8080"
    assert made.resource("upstream") == "http://127.0.0.1:8080/mcp/upstream"
    assert made.evidence.store == tmp_path / "evidence.db"


def test_the_options_reach_the_configuration(tmp_path):
    run(
        tmp_path,
        "--upstream-url",
        "https://ehr.example/mcp",
        "--upstream-name",
        "ehr",
        "--issuer",
        "https://idp.example/a",
    )
    made = config.load(tmp_path / "phigate.toml")
    assert made.upstreams[0].name == "ehr"
    assert made.upstreams[0].url == "https://ehr.example/mcp"
    assert made.issuers[0].url == "https://idp.example/a"


def test_an_upstream_command_is_split_as_a_shell_would(tmp_path):
    run(tmp_path, "--upstream-command", f"{sys.executable} 'my server.py' --say \"caf\u00e9 \U0001f600\"")
    assert config.load(tmp_path / "phigate.toml").upstreams[0].command == (
        sys.executable,
        "my server.py",
        "--say",
        "caf\u00e9 \U0001f600",
    )


def test_the_secrets_are_for_their_owner_only_and_out_of_version_control(tmp_path):
    run(tmp_path)
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    secrets = list((tmp_path / "keys").glob("*.key"))
    assert secrets
    assert {stat.S_IMODE(secret.stat().st_mode) for secret in secrets} == {0o600}
    assert {"keys/", "evidence.db*"} <= set((tmp_path / ".gitignore").read_text().splitlines())


@pytest.mark.skipif(shutil.which("git") is None, reason="needs the Debian package git")
def test_git_ignores_the_keys_and_the_evidence(tmp_path):
    run(tmp_path)
    (tmp_path / "evidence.db").touch()
    (tmp_path / "evidence.db-wal").touch()
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    untracked = subprocess.run(
        ["git", "-C", tmp_path, "status", "--porcelain", "-uall"], check=True, capture_output=True, text=True
    ).stdout
    assert "phigate.toml" in untracked
    assert "key" not in untracked
    assert "evidence" not in untracked


def test_the_starter_policy_is_the_shipped_one(tmp_path):
    run(tmp_path)
    assert loader.read(tmp_path / "policies").files == bundle.read(loader.shipped()).files


def test_an_existing_configuration_is_left_as_it_is(tmp_path):
    (tmp_path / "phigate.toml").write_text("mine")
    with pytest.raises(ConfigFault, match="exists already"):
        run(tmp_path)
    assert (tmp_path / "phigate.toml").read_text() == "mine"
    assert not (tmp_path / "keys").exists()


def test_force_writes_the_configuration_anew_but_never_keys_or_policies(tmp_path):
    run(tmp_path)
    before = keys.load(tmp_path / "keys").origin, (tmp_path / "keys" / "log.key").read_bytes()
    (tmp_path / "policies" / "mine.rego").write_text("package mine\n")
    (tmp_path / ".gitignore").write_text("mine\n")
    run(tmp_path, "--force", "--issuer", "https://idp.example")
    assert config.load(tmp_path / "phigate.toml").issuers[0].url == "https://idp.example"
    assert (keys.load(tmp_path / "keys").origin, (tmp_path / "keys" / "log.key").read_bytes()) == before
    assert (tmp_path / "policies" / "mine.rego").exists()
    assert (tmp_path / ".gitignore").read_text() == "mine\n"


def test_it_says_what_to_do_next(tmp_path, capsys):
    run(tmp_path)
    told = capsys.readouterr().out
    assert "[[issuer]]" in told
    assert f"phigate serve -c {tmp_path}/phigate.toml" in told.replace("\n", "")


def test_options_that_make_a_bad_configuration_are_named_with_their_fix(tmp_path):
    with pytest.raises(ConfigFault, match="http, so whoever is on the network could issue tokens"):
        run(tmp_path, "--issuer", "http://idp.example")


@pytest.mark.parametrize("command", ["", "  ", "python 'server.py"])
def test_a_command_that_cannot_be_read_is_a_fault_before_anything_is_written(tmp_path, command):
    with pytest.raises(ConfigFault, match="upstream command cannot be read"):
        run(tmp_path / "new", "--upstream-command", command)
    assert not (tmp_path / "new").exists()


def test_a_place_that_cannot_be_written_is_a_fault_and_no_traceback(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigFault, match="cannot be written"):
        run(tmp_path / "file" / "below")


def test_what_is_commented_out_shows_the_defaults(tmp_path):
    run(tmp_path)
    file = tmp_path / "phigate.toml"
    before = config.load(file)
    examples = "public_url|audience|client_claim|headers_env|headers_file|env|labels|sql|sql_dialect|fhir|fhir_bases"
    examples += "|listen|otlp_endpoint"
    text = re.sub(rf"^# (?!(?:{examples}) )(?=\w+ = )", "", file.read_text(), flags=re.MULTILINE)
    text = re.sub(r"^(?:allow_http|cwd) = .*\n", "", text, flags=re.MULTILINE)
    assert text.count("\n# ") < file.read_text().count("\n# ") / 2
    file.write_text(text)
    after = config.load(file)
    assert after.gateway == before.gateway
    assert (after.evidence, after.policy, after.issuers) == (before.evidence, before.policy, before.issuers)
    assert after.upstreams == before.upstreams


@pytest.mark.parametrize("name", ["My Clinic", "---", "Ünïcode", "a+b", "x" * 200])
def test_any_directory_name_gives_a_name_for_the_log(tmp_path, name):
    assert run(tmp_path / name) == 0
    assert keys.load(tmp_path / name / "keys").origin.endswith("/phigate")


@given(st.text(), st.lists(st.text(), max_size=3), st.text())
def test_whatever_the_options_hold_the_document_stays_toml_with_that_value(name, words, issuer):
    text = init.document(name=name, upstream={"command": "run", "args": words}, issuer=issuer)
    found = tomllib.loads(text)
    assert found["upstream"][0]["name"] == name
    assert found["upstream"][0]["args"] == words
    assert found["issuer"][0]["url"] == issuer
