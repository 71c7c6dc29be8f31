"""The shipped library: its own tests, its lint, its bundle, and what it costs the other parts to believe it."""

from pathlib import Path

import orjson
import pytest

from gateway.core.masking.phi import Phi
from gateway.core.policy import bundle, lint
from gateway.pdp import admission, loader, suite
from gateway.pdp.engine import load

ROOT = Path(__file__).parents[2]
POLICIES = ROOT / "policies"
LIBRARY = loader.read(POLICIES)
SETTINGS = LIBRARY.data["gateway"]["settings"]


@pytest.mark.parametrize("outcome", suite.run(LIBRARY), ids=lambda outcome: f"{outcome.package[13:]}.{outcome.name}")
def test_policy(outcome):
    assert outcome.word == "PASS", f"{outcome.file}:{outcome.place.line} {outcome.fault}{outcome.output}"


def test_the_library_has_no_findings():
    engine = load(LIBRARY.sources, LIBRARY.data)

    assert lint.unparsed(LIBRARY.sources) == []
    assert lint.check(orjson.loads(engine.get_ast_as_json()), LIBRARY.data, LIBRARY.manifest) == []


def test_the_committed_bundle_is_what_the_policies_build_to():
    built = bundle.build(loader.sources(POLICIES))

    assert (ROOT / "bundles" / "phigate.tar.gz").read_bytes() == built, (
        "policies/ changed: phigate bundle build -o bundles/phigate.tar.gz"
    )


def test_the_package_ships_the_committed_bundle():
    assert loader.shipped() == (ROOT / "bundles" / "phigate.tar.gz").read_bytes()


def test_the_library_is_admitted():
    admission.admit(LIBRARY)


def test_every_rule_has_its_tests_beside_it():
    rules = {source.path.removesuffix(".rego") for source in LIBRARY.sources if not source.is_test}
    tests = {source.path.removesuffix("_test.rego") for source in LIBRARY.sources if source.is_test}

    # The guards are tested through the entrypoint that they serve, where their order counts.
    through = {f"gateway/{name}/{name}" for name in ("grants", "tools", "sql", "masks", "receipt")}
    assert rules - through == tests


def test_every_class_that_a_mask_profile_names_is_one_that_is_detected():
    selected = [rule["select"] for profile in SETTINGS["masks"].values() for rule in profile["rules"]]
    named = {select["class"] for select in selected if "class" in select}

    assert named <= {phi.value for phi in Phi}


def test_every_reason_to_hold_a_call_has_terms():
    assert SETTINGS["approvals"].keys() >= {"bulk_select", "write"}


def test_every_rule_and_setting_is_documented():
    page = (ROOT / "docs" / "policies.md").read_text()
    packages = {f"`gateway.{source.path.split('/')[1]}`" for source in LIBRARY.sources}

    assert {word for word in packages if word not in page} == set()
    assert {key for key in SETTINGS if f"`{key}`" not in page} == set()
