import json

import pytest

from gateway.__main__ import main
from gateway.core.policy import bundle
from gateway.pdp import loader


@pytest.fixture
def policies(tmp_path):
    loader.unpack(bundle.read(loader.shipped()), tmp_path / "policies")
    return tmp_path / "policies"


def test_a_bundle_is_built_inspected_and_verified(tmp_path, policies, capsys):
    target = tmp_path / "out.tar.gz"

    assert main(["bundle", "build", str(policies), "-o", str(target)]) == 0
    assert target.read_bytes() == loader.shipped()
    capsys.readouterr()
    assert main(["bundle", "inspect", str(target), "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["sha256"] == bundle.read(loader.shipped()).digest
    assert "data.gateway.call" in report["packages"]
    assert main(["bundle", "verify", str(target), "--source", str(policies)]) == 0


def test_a_bundle_that_would_not_be_admitted_is_not_written(tmp_path, policies, capsys):
    (policies / "gateway/more.rego").write_text("package gateway.more\nf(x) := f(x)\n")

    assert main(["bundle", "build", str(policies), "-o", str(tmp_path / "out.tar.gz")]) == 2
    assert not (tmp_path / "out.tar.gz").exists()
    assert "[recursion]" in capsys.readouterr().err


def test_verify_names_the_files_that_differ_from_the_source(tmp_path, policies, capsys):
    (tmp_path / "b.tar.gz").write_bytes(loader.shipped())
    settings = policies / "gateway/settings/data.json"
    settings.write_text(settings.read_text().replace("200", "201"))

    assert main(["bundle", "verify", str(tmp_path / "b.tar.gz"), "--source", str(policies)]) == 1
    assert "gateway/settings/data.json" in capsys.readouterr().out


def test_a_link_to_a_bundle_stays_a_link(tmp_path, policies):
    (tmp_path / "link.tar.gz").symlink_to(tmp_path / "real.tar.gz")

    assert main(["bundle", "build", str(policies), "-o", str(tmp_path / "link.tar.gz")]) == 0
    assert (tmp_path / "link.tar.gz").is_symlink()
    assert (tmp_path / "real.tar.gz").read_bytes() == loader.shipped()
