"""References into the input, compared with what the gateway sends."""

import pytest

from gateway.core.policy.lint import Schemas
from gateway.pdp.schemas import schema
from tests.core.policy.lint.policies import ENTRYPOINTS, answer, found, review

SCHEMAS = Schemas(schema("input"), schema("settings"))


def unknown(body):
    return [finding for finding in review(below(body), schemas=SCHEMAS) if finding.rule == "unknown-input"]


def below(body):
    decides = 'default decision := {"effect": "deny"}\n\ndecision := {"effect": "allow"} if x'
    return f"package gateway.call\n\n{decides}\n\n{body}\n"


@pytest.mark.parametrize(
    "body",
    [
        'x if "staff" in input.principal.group',
        "x if input.princpal",
        "x if input.facts.sql.statments[_]",
        "x if { some s in input.facts.sql.statements; s.kynd }",
        "x if { p := input.principal; p.group }",
        "x if { some i; input.facts.sql.outputs[i].nam }",
        'x if input["principal"].groups.name',
        "x if input.profile.rows",
        "x if input.principal.iss.name",
        "x if f(1)\n\nf(_) if input.princpal",
    ],
)
def test_a_field_that_is_never_sent_is_found(body):
    assert len(unknown(body)) == 1


@pytest.mark.parametrize(
    "body",
    [
        "x if input.message.arguments.whatever[3].deep",
        "x if input.message.params.ref.type",
        "x if input.tool.annotations.readOnlyHint",
        "x if input.upstream.labels.phi",
        "x if input.approval.reviewers[0].sub",
        "x if { some i; input.facts.sql.statements[i].kind }",
        "x if walk(input, [_, 1])",
        "x if f(input)\n\nf(given) if given.anything",
    ],
)
def test_a_field_that_may_be_sent_is_fine(body):
    assert unknown(body) == []


def test_a_misspelt_field_would_let_everybody_in():
    body = 'default blocked := false\n\nblocked if "blocked" in input.principal.group\n\nx if not blocked'

    assert answer(body, "x", document={"principal": {"groups": ["blocked"]}}) is True
    assert "`input.principal` has no `group` in what gateway/call/decision is asked" in unknown(body)[0].reason


def test_a_rule_that_two_entrypoints_use_may_read_what_one_of_them_is_asked():
    shared = "package gateway.shared\n\nx if input.profile.rows > 5\n"
    result = ENTRYPOINTS["gateway/result/decision.rego"] + 'decision := {"effect": "deny"} if data.gateway.shared.x\n'
    others = {**ENTRYPOINTS, "gateway/shared/shared.rego": shared, "gateway/result/decision.rego": result}

    assert "unknown-input" not in found("x if data.gateway.shared.x", others=others, schemas=SCHEMAS)


def test_a_test_that_replaces_a_field_which_is_never_sent_proves_nothing():
    test = "package gateway.call_test\n\ntest_x if data.gateway.call.x with input.principal.{} as []\n"

    assert "unknown-input" in found(
        "x := 1", others={**ENTRYPOINTS, "a_test.rego": test.format("group")}, schemas=SCHEMAS
    )
    assert "unknown-input" not in found(
        "x := 1", others={**ENTRYPOINTS, "a_test.rego": test.format("groups")}, schemas=SCHEMAS
    )


def test_an_import_of_the_input_is_followed():
    text = below("x if who.group").replace("call\n", "call\n\nimport input.principal as who\n", 1)

    assert "unknown-input" in {finding.rule for finding in review(text, schemas=SCHEMAS)}


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"type": "object"},
        {"properties": {"principal": {"$ref": "#/nowhere"}}},
        {"properties": {"principal": {"$ref": "#"}}},
        {"$ref": "#"},
        {"oneOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/$defs/a"}}},
    ],
)
def test_a_schema_that_says_nothing_or_refers_to_itself_finds_nothing_wrong_with_what_it_does_not_close(document):
    assert "unknown-input" not in found("x if input.principal.group", schemas=Schemas(document))


def test_a_schema_of_ones_own_counts():
    own = {"type": "object", "properties": {"who": {"type": "string"}}, "additionalProperties": False}

    assert "unknown-input" in found("x if input.principal", schemas=Schemas(own))
    assert found("x if input.who", schemas=Schemas(own)) == set()


def test_a_misspelt_setting_is_told():
    settings = {"type": "object", "properties": {"rows": {"type": "integer"}}, "additionalProperties": False}
    data = {"gateway": {"settings": {"row": 5}}}

    assert "settings-schema" in found("x := 1", data=data, schemas=Schemas(settings=settings))
    assert found("x := 1", data={"gateway": {"settings": {"rows": 5}}}, schemas=Schemas(settings=settings)) == set()


def test_the_settings_of_a_guard_of_ones_own_are_its_own():
    guards = {"type": "object", "properties": {"hours": {"type": "object"}}, "additionalProperties": False}
    schemas = Schemas(settings={"type": "object", "properties": {"guards": guards}})

    def told(body, guard):
        settings = {"guards": {guard: ["x"]}}
        return "settings-schema" in found(body, data={"gateway": {"settings": settings}}, schemas=schemas)

    rule = 'default verdict := "deny"'
    assert not told(rule, "call")  # The package that `found` writes.
    assert told(rule, "calls")  # Misspelt: no package has that name.
    assert told("x := 1", "call")  # No guard.
    assert told(rule, "hours")  # Its settings are described.
