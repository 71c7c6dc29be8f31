"""What every guard of the library has: its page with an example that works, its cases, its terms, its description."""

import json
import re
from pathlib import Path

import jsonschema_rs
import pytest

from gateway.core.masking import plan, profile
from gateway.core.masking.phi import Phi
from gateway.core.policy import decision, samples
from gateway.core.policy.decision import Effect, Entrypoint
from gateway.pdp import admission, loader, suite
from gateway.pdp.engine import Pdp

ROOT = Path(__file__).parents[2]
POLICIES = ROOT / "policies"
LIBRARY = loader.read(POLICIES)
SETTINGS = LIBRARY.data["gateway"]["settings"]
SCHEMA = json.loads((POLICIES / "schema" / "settings.json").read_text())
SWITCHED = sorted(SCHEMA["properties"]["guards"]["properties"])
MASKS = SETTINGS["masks"]
KEY = b"k" * 32


def example(page):
    """The first JSON on a guard's page, as settings laid over the shipped ones."""
    found = re.search(r"```json\n(.*?)```", (POLICIES / "gateway" / page / "README.md").read_text(), re.DOTALL)
    return {**SETTINGS, **json.loads(found[1])}


def with_settings(settings):
    files = {**loader.sources(POLICIES), "gateway/settings/data.json": json.dumps(settings).encode()}
    return loader.bundles.read(loader.bundles.build(files))


@pytest.mark.parametrize("guard", [*SWITCHED, "asks"])
def test_the_librarys_own_tests_hold_whichever_guards_a_site_switches_on(guard):
    failed = [outcome.name for outcome in suite.run(with_settings(example(guard))) if outcome.word != "PASS"]
    assert failed == []


def test_a_library_with_all_guards_on_is_admitted():
    guards = [example(guard)["guards"] for guard in SWITCHED]
    together = {name: each for found in guards for name, each in found.items()}
    admission.admit(with_settings({**SETTINGS, "guards": together}))


@pytest.mark.parametrize("guard", [*SWITCHED, "asks"])
def test_the_example_on_a_guards_page_keeps_the_schema_and_decides(guard):
    settings = example(guard)
    jsonschema_rs.validator_for(SCHEMA).validate(settings)
    pdp = Pdp(with_settings(settings))
    found = [pdp.decide(entrypoint, document, at=samples.TIME).decision for entrypoint, document in samples.samples()]
    codes = {reason.code for each in found for reason in each.reasons}
    assert Effect.ALLOW in {each.effect for each in found}
    assert codes.isdisjoint({"policy_error", "policy_undefined", "policy_malformed"})


@pytest.mark.parametrize("guard", [*SWITCHED, "asks"])
def test_a_guard_has_its_rule_tests_cases_and_page(guard):
    names = {path.name for path in (POLICIES / "gateway" / guard).iterdir()}
    assert names >= {f"{guard}.rego", f"{guard}_test.rego", f"{guard}_cases.yaml", "README.md"}


@pytest.mark.parametrize("guard", SWITCHED)
def test_every_reason_of_a_guard_is_on_its_page_and_one_that_can_hold_a_call_has_terms(guard):
    rule = (POLICIES / "gateway" / guard / f"{guard}.rego").read_text()
    page = (POLICIES / "gateway" / guard / "README.md").read_text()
    codes = set(re.findall(r'"code": "(\w+)"', rule))
    assert {code for code in codes if f"`{code}`" not in page} == set()
    held = set(re.findall(r"`approvals\.(\w+)`", page))
    assert held <= SETTINGS["approvals"].keys()


def test_a_guard_that_nobody_knows_refuses_every_call():
    pdp = Pdp(with_settings({**SETTINGS, "guards": {"huors": {}}}))
    for entrypoint, document in list(samples.samples())[:100]:
        if entrypoint is Entrypoint.CALL:
            assert pdp.decide(entrypoint, document, at=samples.TIME).decision.effect is Effect.DENY


def operator(name, phi):
    """The operator that a profile has for a class: its own rule, or that of a class which takes it."""
    rules = {rule["select"].get("class"): rule["operator"]["name"] for rule in reversed(MASKS[name]["rules"])}
    rules |= {"BIRTH_DATE": "generalise"} if MASKS[name]["birth_years"] else {}
    return next((rules[wide.value] for wide in phi.wider if wide.value in rules), None)


KEPT = {
    "safe_harbor": set(),
    "limited_data_set": {Phi.ZIP, Phi.DATE, Phi.BIRTH_DATE, Phi.AGE},
    "minimum_necessary": {Phi.DATE},
    "everything": set(),
}
"""45 CFR 164.514(e)(2) leaves dates, ages, town, state and ZIP in a limited data set; (b)(2) leaves nothing whole."""


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("phi", Phi)
def test_a_mask_profile_says_what_becomes_of_every_class(name, phi):
    found = operator(name, phi)
    assert found is not None
    assert (found == "keep") == (phi in KEPT[name])


RECORD = {
    "given": "Ann",
    "family": "Kowalski",
    "street": "9 Elm Road",
    "city": "Salem",
    "state": "MA",
    "zip": "02139",
    "birth_date": "1950-02-03",
    "admitted": "2020-02-03",
    "phone": "617-555-0123",
    "fax": "617-555-0124",
    "email": "ann@example.org",
    "ssn": "219-09-9999",
    "mrn": "MRN-778812",
    "member_id": "W2201-88172",
    "account": "ACC-5512-9911",
    "license": "S1234567",
    "vin": "1HGCM82633A004352",
    "device_serial": "SN-99812-X",
    "url": "https://ann.example.org/me",
    "ip": "192.0.2.17",
    "fingerprint": "fp-8812-7716",
    "photo": "ann.jpg",
    "identifier": "U-5512-77",
}
SIXTEEN = RECORD.keys() - {"city", "state", "zip", "birth_date", "admitted"}


def masked(name):
    rules = tuple(decision.decode(Entrypoint.RESULT, {"effect": "allow", "mask": MASKS[name]["rules"]}).mask)
    value = {"content": [], "structuredContent": {"patients": [RECORD]}}
    return plan.apply(value, rules, key=KEY, schema=None).value["structuredContent"]["patients"][0]


def test_the_record_holds_every_class_that_is_a_text():
    found = profile.inspect({"content": [], "structuredContent": {"patients": [RECORD]}}).document["classes"]
    assert {phi.value for phi in Phi} - found.keys() == {"PHI", "AGE", "BLOB"}


@pytest.mark.parametrize("name", sorted(SIXTEEN))
def test_a_limited_data_set_has_none_of_the_direct_identifiers(name):
    assert masked("limited_data_set")[name] != RECORD[name]


def test_a_limited_data_set_keeps_town_state_zip_and_dates():
    left = masked("limited_data_set")
    for name in ("city", "state", "zip", "birth_date", "admitted"):
        assert left[name] == RECORD[name]


@pytest.mark.parametrize("name", sorted(RECORD.keys() - {"state"}))
def test_safe_harbor_has_none_of_the_eighteen(name):
    assert masked("safe_harbor")[name] != RECORD[name]


def test_minimum_necessary_lets_records_be_joined_but_not_named():
    left = masked("minimum_necessary")
    assert left["mrn"].startswith("tok_mrn_")
    assert left["admitted"] == RECORD["admitted"]
    for name in SIXTEEN | {"city"}:
        assert left[name] != RECORD[name]
