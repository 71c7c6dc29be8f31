"""The schemas say what the code says: inputs that the gateway makes, decisions it reads, settings it ships."""

import json
from pathlib import Path

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.call import Call
from gateway.core.facts import call as facts
from gateway.core.masking import profile
from gateway.core.policy import decision, samples
from gateway.core.policy import input as policy_input
from gateway.core.policy.decision import Entrypoint
from gateway.core.protocol.jsonrpc import Failure, Notification, Request, Success
from gateway.core.types import Digest, Era, ExchangeId, Principal, SessionId, Tool, UpstreamRef
from gateway.pdp import loader

POLICIES = Path(__file__).parents[2] / "policies"
NAMES = {entrypoint: entrypoint.name.lower() for entrypoint in Entrypoint}


def schema(name):
    return json.loads((POLICIES / "schema" / f"{name}.json").read_text())


def part(name, of):
    return jsonschema_rs.validator_for({**schema(of), "oneOf": [{"$ref": f"#/$defs/{name}"}], "anyOf": [{}]})


INPUT = jsonschema_rs.validator_for(schema("input"))
DECISIONS = {entrypoint: part(name, "decision") for entrypoint, name in NAMES.items()}

REQUEST = Request(1, "tools/call", {"name": "run_sql", "arguments": {"sql": "SELECT 1"}, "_meta": {"a": 1}})
CALL = Call(
    ExchangeId("e"),
    SessionId("s"),
    "actor",
    Era.MODERN,
    "2026-07-28",
    Principal("https://issuer.example", "x", ("a",)),
    UpstreamRef("clinic", {"phi": True}),
    REQUEST,
    tool=Tool("run_sql", Digest("0" * 64), {"annotations": {"readOnlyHint": True}}),
    facts=facts.of(REQUEST, facts.Reading({"run_sql": "sql"}, "sqlite")),
)


def faults(document):
    return [
        f"{error.instance_path}: {error.message}" for error in INPUT.iter_errors({**document, "time": samples.TIME})
    ]


@pytest.mark.parametrize(
    "message",
    [
        REQUEST,
        Request("a", "resources/read", {"uri": "x://y"}),
        Notification("notifications/cancelled", {"requestId": 1}),
        Success(1, {"a": 1}),
        Failure(1, -1, "no", {"b": 2}),
    ],
)
def test_what_a_call_is_decided_on_is_in_the_schema(message):
    call = Call(
        CALL.exchange, CALL.session, "a", CALL.era, CALL.version, CALL.principal, CALL.upstream, message, answers="ping"
    )

    assert faults(policy_input.for_call(call)) == []


@pytest.mark.parametrize(
    "message",
    [
        Success(1, {"content": [{"type": "text", "text": "SSN 123-45-6789"}]}),
        Success(1, {"inputRequests": {"q": {"method": "sampling/createMessage"}}}),
        Failure(1, -1, "no"),
        Request(2, "elicitation/create", {}),
        Notification("notifications/progress", {}),
    ],
)
def test_what_a_result_is_decided_on_is_in_the_schema(message):
    found = profile.inspect({"content": [{"type": "text", "text": "SSN 123-45-6789"}]})

    assert faults(policy_input.for_result(CALL, message, found)) == []


def test_what_a_listing_is_decided_on_is_in_the_schema():
    assert faults(policy_input.for_catalogue(CALL, "tools", [{"name": "a", "annotations": {}, "changed": False}])) == []


def test_every_sample_is_in_the_schema():
    strange = [document for _, document in samples.samples() if not INPUT.is_valid(document)]

    assert strange == []


words = st.sampled_from(
    "effect reasons mask approval labels counts visible allow deny require_approval select operator class name groups "
    "quorum expires_s justification required phase call result code message rule redact SSN".split()
)
scalars = st.none() | st.booleans() | st.integers(-1, 12) | words
terms = st.fixed_dictionaries(
    {"groups": st.lists(words, max_size=2) | scalars},
    optional={"quorum": scalars, "expires_s": scalars, "justification": words, "phase": words, "x": scalars},
)
rules = st.fixed_dictionaries(
    {"select": st.dictionaries(st.sampled_from(["path", "field", "class", "x"]), words | scalars, max_size=2)},
    optional={"operator": st.fixed_dictionaries({"name": words}, optional={"keep": scalars}) | scalars},
)
reasons = st.fixed_dictionaries(
    {"code": words | scalars}, optional={"message": words | scalars, "rule": words | scalars}
)
answers = (
    st.fixed_dictionaries(
        {"effect": st.sampled_from(["allow", "deny", "require_approval", "x"])},
        optional={
            "reasons": st.lists(reasons, max_size=2) | scalars,
            "approval": terms | scalars,
            "mask": st.lists(rules, max_size=2) | scalars,
            "labels": st.dictionaries(words, scalars, max_size=1) | scalars,
            "counts": scalars,
            "visible": st.lists(words | scalars, max_size=2) | scalars,
        },
    )
    | scalars
)


@given(st.sampled_from(Entrypoint), answers)
def test_the_decoder_reads_what_the_schema_allows_and_nothing_else(entrypoint, answer):
    read = decision.decode(entrypoint, answer)

    malformed = bool(read.reasons) and read.reasons[0].code == "policy_malformed"
    assert malformed != DECISIONS[entrypoint].is_valid(answer)


def test_the_shipped_settings_keep_their_schema():
    settings = loader.read(POLICIES).data["gateway"]["settings"]

    jsonschema_rs.validator_for(schema("settings")).validate(settings)


def test_the_schemas_are_schemas():
    for name in ("input", "decision", "settings"):
        assert jsonschema_rs.meta.is_valid(schema(name))
