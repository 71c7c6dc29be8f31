import base64
import json
import os
import shutil

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gateway.__main__ import main
from gateway.core.policy import bundle
from gateway.pdp import loader

KINDS = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
PRIVATE = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def policies(tmp_path):
    """A policy small enough to be admitted in a moment."""
    directory = tmp_path / "policies"
    for entrypoint in ("call", "result", "catalogue", "approval", "access"):
        (directory / "gateway" / entrypoint).mkdir(parents=True)
        (directory / "gateway" / entrypoint / "decision.rego").write_text(
            f'package gateway.{entrypoint}\n\ndefault decision := {{"effect": "deny"}}\n'
        )
    (directory / "gateway" / "settings").mkdir()
    (directory / "gateway" / "settings" / "data.json").write_text('{"rows": 5}')
    (directory / ".manifest").write_text('{"roots": ["gateway"]}')
    return directory


@pytest.fixture
def keys(tmp_path):
    for name, key in (("rsa", RSA), ("ec", EC)):
        (tmp_path / f"{name}.pem").write_bytes(key.private_bytes(*PRIVATE))
        (tmp_path / f"{name}.pub").write_bytes(key.public_key().public_bytes(*KINDS))
    return tmp_path


@pytest.fixture
def run(capsys):
    """Runs `phigate bundle …`: the exit code and what was printed, decoded when it is JSON."""

    def ran(*words, format="json"):
        code = main(["bundle", *map(str, words), *(["--format", format] if format else [])])
        told = capsys.readouterr()
        if code == 2:
            assert "Traceback" not in told.err
            return code, told.err
        return code, json.loads(told.out) if format == "json" else told.out

    return ran


def decoded(path):
    (token,) = json.loads(bundle.read(path.read_bytes()).files[bundle.SIGNATURES])["signatures"]
    return [json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2]]


def test_the_shipped_library_is_what_its_unpacked_sources_build_to(tmp_path, run):
    loader.unpack(bundle.read(loader.shipped()), tmp_path / "policies")

    assert run("build", tmp_path / "policies", "-o", tmp_path / "out.tar.gz")[0] == 0
    assert (tmp_path / "out.tar.gz").read_bytes() == loader.shipped()


def test_a_bundle_is_built_inspected_and_verified(tmp_path, policies, run):
    target = tmp_path / "out.tar.gz"

    assert run("build", policies, "-o", target)[0] == 0
    code, report = run("inspect", target)
    assert code == 0
    assert report["sha256"] == bundle.read(target.read_bytes()).digest
    assert report["namespaces"]["data.gateway.call"] == ["gateway/call/decision.rego"]
    assert report["namespaces"]["data.gateway.settings"] == ["gateway/settings/data.json"]
    assert report["manifest"]["roots"] == ["gateway"]
    assert report["data"] == ["gateway/settings/rows"]
    assert len(report["entrypoints"]) == 5
    assert run("verify", target, "--source", policies)[0] == 0


def test_a_bundle_that_would_not_be_admitted_is_not_written(tmp_path, policies, run):
    (policies / "gateway/more.rego").write_text("package gateway.more\nf(x) := f(x)\n")

    code, told = run("build", policies, "-o", tmp_path / "out.tar.gz")

    assert code == 2
    assert not (tmp_path / "out.tar.gz").exists()
    assert "recursion" in told


def test_a_bundle_whose_cases_fail_is_not_written(tmp_path, policies, run):
    cases = policies / "gateway/call/call_cases.yaml"
    cases.write_text("entrypoint: call\ncases:\n  - note: nobody may call\n    want: {effect: allow}\n")

    code, told = run("build", policies, "-o", tmp_path / "out.tar.gz")

    assert code == 2
    assert not (tmp_path / "out.tar.gz").exists()
    assert f"{cases}:3: data.gateway.call: nobody may call: FAIL: effect is " in told
    assert '"deny", wanted "allow"' in told

    cases.write_text(cases.read_text().replace("allow", "deny"))
    assert run("build", policies, "-o", tmp_path / "out.tar.gz")[0] == 0
    assert "call_cases.yaml" not in bundle.read((tmp_path / "out.tar.gz").read_bytes()).files


def test_a_bundle_whose_cases_cannot_be_read_is_not_written(tmp_path, policies, run):
    (policies / "gateway/call/call_cases.yaml").write_text("cases:\n  - note: x\n    wants: {}\n")

    code, told = run("build", policies, "-o", tmp_path / "out.tar.gz")

    assert (code, "wants" in told) == (2, True), told
    assert not (tmp_path / "out.tar.gz").exists()


def test_verify_names_the_files_that_differ_from_the_source(tmp_path, policies, run):
    run("build", policies, "-o", tmp_path / "b.tar.gz")
    (policies / "gateway/settings/data.json").write_text('{"rows": 6}')

    code, report = run("verify", tmp_path / "b.tar.gz", "--source", policies)

    assert code == 1
    assert report["faults"] == [
        f"The bundle is not what {policies} builds to; these differ: gateway/settings/data.json."
    ]


def test_a_link_to_a_bundle_stays_a_link(tmp_path, policies, run):
    (tmp_path / "link.tar.gz").symlink_to(tmp_path / "real.tar.gz")

    assert run("build", policies, "-o", tmp_path / "link.tar.gz")[0] == 0
    assert (tmp_path / "link.tar.gz").is_symlink()
    assert (tmp_path / "real.tar.gz").exists()


def test_a_bundle_is_built_signed_and_verified(tmp_path, policies, keys, run):
    target = tmp_path / "out.tar.gz"
    (tmp_path / "claims.json").write_text('{"scope": "write", "iss": "ci"}')
    signing = ("--signing-key", keys / "rsa.pem", "--signing-key-id", "k1", "--claims-file", tmp_path / "claims.json")

    assert run("build", policies, "-o", target, *signing)[0] == 0
    header, payload = decoded(target)
    assert header == {"alg": "RS256", "kid": "k1", "typ": "JWT"}
    assert payload["scope"] == "write"
    again = target.read_bytes()
    run("build", policies, "-o", target, *signing)
    assert target.read_bytes() == again, "RS256 has one signature for one content"

    code, report = run("verify", target, "--verification-key", keys / "rsa.pub", "--scope", "write")
    assert (code, report["verified"]["iss"]) == (0, "ci")
    for wrong in (
        ("--verification-key", keys / "rsa.pub"),
        ("--verification-key", keys / "rsa.pub", "--scope", "read"),
        ("--verification-key", keys / "ec.pub", "--signing-alg", "ES256", "--scope", "write"),
        ("--verification-key", "x" * 32, "--signing-alg", "HS256", "--scope", "write"),
        (),
    ):
        assert run("verify", target, *wrong)[0] == 1, wrong


def test_verify_does_not_try_what_is_not_signed_as_wanted(tmp_path, policies, keys, run):
    (policies / "gateway/more.rego").write_text("package gateway.more\nf(x) := f(x)\n")
    (tmp_path / "b.tar.gz").write_bytes(bundle.build(loader.sources(policies)))

    code, report = run("verify", tmp_path / "b.tar.gz", "--verification-key", keys / "rsa.pub")

    assert code == 1
    assert [fault for fault in report["faults"] if "not signed" in fault] == report["faults"]


def test_a_bundle_file_is_signed_in_place_and_signed_again(tmp_path, policies, keys, run):
    target = tmp_path / "b.tar.gz"
    run("build", policies, "-o", target)

    assert run("sign", target, "--signing-key", keys / "ec.pem", "--signing-alg", "ES256")[0] == 0
    assert run("verify", target, "--verification-key", keys / "ec.pub", "--signing-alg", "ES256")[0] == 0
    assert run("sign", target, "--signing-key", "s" * 32, "--signing-alg", "HS256", "-o", tmp_path / "c.tar.gz")[0] == 0
    assert run("verify", tmp_path / "c.tar.gz", "--verification-key", "s" * 32, "--signing-alg", "HS256")[0] == 0


def test_a_directory_is_signed_with_all_that_lies_in_it(policies, keys, run):
    (policies / "README.md").write_text("x")

    assert run("sign", policies, "--signing-key", keys / "rsa.pem")[0] == 0
    assert run("verify", policies, "--verification-key", keys / "rsa.pub")[0] == 0
    (policies / "README.md").write_text("y")
    code, report = run("verify", policies, "--verification-key", keys / "rsa.pub")
    assert (code, report["faults"]) == (1, ["README.md is not what was signed: its SHA-256 differs."])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--signing-key", "nowhere.pem"), "cannot be read"),
        (("--signing-key", "rsa.pub"), "no private key in PEM"),
        (("--signing-key", "rsa.pem", "--signing-alg", "ES256"), "ES256 needs an EC key"),
        (("--signing-key", "rsa.pem", "--signing-alg", "none"), "no algorithm"),
        (("--signing-key", "rsa.pem", "--signing-alg", "HS256"), "everybody may know it"),
        (("--signing-key", "short", "--signing-alg", "HS256"), "5 bytes"),
        (("--signing-key", "rsa.pem", "--claims-file", "nowhere.json"), "nowhere.json cannot be read"),
        (("--signing-key", "rsa.pem", "--claims-file", "rsa.pem"), "not JSON"),
        (("--signing-key", "rsa.pem", "--claims-file", "files.json"), "without `files`"),
    ],
)
def test_what_cannot_sign_is_named(policies, keys, run, monkeypatch, words, told):
    monkeypatch.chdir(keys)
    (keys / "files.json").write_text('{"files": []}')

    code, err = run("sign", policies, *words)

    assert (code, told in err) == (2, True), err
    assert not (policies / ".signatures.json").exists()


def test_inspect_shows_who_claims_to_have_signed_and_what_authors_say(policies, keys, run):
    (policies / "gateway/call/notes.rego").write_text(
        "# METADATA\n# title: Notes\n# entrypoint: true\npackage gateway.call\n\n# METADATA\n# title: One\none := 1\n"
    )
    run("sign", policies, "--signing-key", keys / "rsa.pem", "--signing-key-id", "k1")

    code, report = run("inspect", policies, "-a")

    assert code == 0
    assert report["signature"]["key_id"] == "k1"
    assert len(report["signatures_config"]["signatures"]) == 1
    assert report["annotations"] == [
        {
            "annotations": {"title": "Notes", "entrypoint": True, "scope": "package"},
            "location": {"file": "gateway/call/notes.rego", "row": 4, "col": 1},
            "path": [
                {"type": "var", "value": "data"},
                {"type": "string", "value": "gateway"},
                {"type": "string", "value": "call"},
            ],
        },
        {
            "annotations": {"title": "One", "scope": "rule"},
            "location": {"file": "gateway/call/notes.rego", "row": 8, "col": 1},
            "path": [
                {"type": "var", "value": "data"},
                {"type": "string", "value": "gateway"},
                {"type": "string", "value": "call"},
                {"type": "string", "value": "one"},
            ],
        },
    ]
    assert "gateway/call/notes.rego:8: rule: One" in run("inspect", policies, "-a", format="pretty")[1]


def test_metadata_that_is_no_yaml_is_named_with_its_line(policies, run):
    (policies / "gateway/call/notes.rego").write_text("package gateway.call\n# METADATA\n# title: [\none := 1\n")

    code, told = run("inspect", policies, "-a")

    assert code == 2
    assert "gateway/call/notes.rego:" in told


def test_diff_tells_rules_data_and_manifest_and_its_exit_code_is_the_answer(tmp_path, policies, run):
    other = tmp_path / "other"
    shutil.copytree(policies, other)
    call = other / "gateway/call/decision.rego"
    call.write_text(call.read_text().replace('"deny"', '"allow"') + '\n# New.\nextra contains "x" if input.x\n')
    (other / "gateway/access/decision.rego").rename(other / "gateway/access/renamed.rego")
    (other / "gateway/settings/data.json").write_text('{"rows": 6, "more": [1]}')

    code, report = run("diff", policies, other)

    assert code == 1
    assert report["rules"] == [
        {
            "package": "data.gateway.call",
            "rule": "decision",
            "change": "changed",
            "files": ["gateway/call/decision.rego"],
        },
        {"package": "data.gateway.call", "rule": "extra", "change": "added", "files": ["gateway/call/decision.rego"]},
    ]
    assert report["data"] == [
        {"path": "gateway/settings/more", "change": "added", "after": [1]},
        {"path": "gateway/settings/rows", "change": "changed", "before": 5, "after": 6},
    ]
    assert [change["path"] for change in report["manifest"]] == ["revision"]
    pretty = run("diff", policies, other, "--source", format="pretty")[1]
    assert "~ decision  (gateway/call/decision.rego)" in pretty
    assert "~ gateway/settings/rows: 5 → 6" in pretty
    assert '+extra contains "x" if input.x' in pretty


def test_diff_of_the_same_is_no_difference(tmp_path, policies, run):
    run("build", policies, "-o", tmp_path / "b.tar.gz")

    assert run("diff", tmp_path / "b.tar.gz", policies)[0] == 0
    assert run("diff", tmp_path / "b.tar.gz", policies, format="pretty") == (0, "The bundles hold the same files.\n")


def test_diff_tells_that_the_signature_changed(tmp_path, policies, keys, run):
    run("build", policies, "-o", tmp_path / "a.tar.gz")
    run("build", policies, "-o", tmp_path / "b.tar.gz", "--signing-key", keys / "rsa.pem", "--signing-key-id", "k1")

    code, report = run("diff", tmp_path / "a.tar.gz", tmp_path / "b.tar.gz")

    assert (code, report["rules"], report["data"]) == (1, [], [])
    assert {"path": "key_id", "change": "added", "after": "k1"} in report["signature"]


def test_sources_that_cannot_be_read_are_named(tmp_path, policies, run):
    def refused(told):
        code, err = run("build", policies, "-o", tmp_path / "out.tar.gz")
        assert (code, told in err) == (2, True), err
        assert not (tmp_path / "out.tar.gz").exists()

    odd = policies / "gateway/odd.rego"
    odd.write_bytes(b"package gateway.odd # \xff\n")
    refused("gateway/odd.rego is not UTF-8 text")
    odd.unlink()
    odd.symlink_to(odd)
    refused("odd.rego is a link that leads nowhere, or round in a circle")
    odd.unlink()
    odd.symlink_to(policies)
    refused("odd.rego is a link that leads to a directory")
    odd.unlink()
    os.mkfifo(odd)
    refused("odd.rego is no plain file")
    odd.unlink()
    with odd.open("wb") as file:
        file.truncate(100 * 2**20)
    refused("holds more than a bundle may")
    odd.unlink()
    (policies / "data.json").write_text('{"gateway": {"call": {"decision": {"effect": "allow"}}}}')
    refused("gateway")
    (policies / "data.json").write_text('{"other": 1}')
    refused("outside the bundle's roots")
    (policies / "data.json").unlink()
    (policies / ".manifest").write_text('{"roots": ["gateway", "gateway/call"]}')
    refused("the roots 'gateway' and 'gateway/call' overlap")


@pytest.mark.parametrize("verb", ["inspect", "verify", "sign", "diff"])
@pytest.mark.parametrize("content", [b"", b"no bundle", None])
def test_what_is_no_bundle_is_refused_by_every_verb(tmp_path, keys, run, verb, content):
    path = tmp_path / "b.tar.gz"
    if content is not None:
        path.write_bytes(content)
    more = {"sign": ("--signing-key", keys / "rsa.pem"), "diff": (path,)}.get(verb, ())

    assert run(verb, path, *more)[0] == 2
