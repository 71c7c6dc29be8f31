"""Builtins that end the decision when the caller sends something of another kind."""

import re

import pytest

from gateway.core.policy.lint import Schemas
from gateway.pdp.schemas import schema
from tests.core.policy.lint.policies import answer, found

SCHEMAS = Schemas(schema("input"))


def arguments(value):
    return {"message": {"arguments": {"a": value}}}


@pytest.mark.parametrize(
    ("call", "sent"),
    [
        ("startswith(input.message.arguments.a, `x`)", 5),
        ("lower(input.message.arguments.a)", None),
        ("count(input.message.arguments.a)", 5),
        ("round(input.message.arguments.a)", "5"),
        ("object.get(input.message.arguments.a, `x`, 1)", []),
        ("input.message.arguments.a + 1", "1"),
        ("concat(`,`, input.message.arguments.a)", 1),
    ],
)
def test_a_value_of_another_kind_ends_the_decision(call, sent):
    body = f"default x := false\n\nx := {call}"

    assert re.search("expects|requires", answer(body, "x", document=arguments(sent)))
    assert "may-fail" in found(body, schemas=SCHEMAS)


@pytest.mark.parametrize(
    ("call", "sent"),
    [
        ("to_number(input.message.arguments.a)", "zz"),
        ("time.parse_rfc3339_ns(input.message.arguments.a)", "zz"),
        ("units.parse(input.message.arguments.a)", "zz"),
        ("json.unmarshal(input.message.arguments.a)", "{"),
        ("base64.decode(input.message.arguments.a)", "%"),
        ("semver.compare(input.message.arguments.a, `1.0.0`)", "zz"),
        ("net.cidr_contains(input.message.arguments.a, `10.0.0.1`)", "zz"),
        ("regex.match(input.message.arguments.a, `x`)", "("),
        ("glob.match(input.message.arguments.a, [], `x`)", "["),
    ],
)
def test_text_that_cannot_be_read_ends_the_decision(call, sent):
    body = f"default x := false\n\nx := {call}"

    assert answer(body, "x", document=arguments(sent)) not in (True, False, "<undefined>")
    assert "may-not-parse" in found(body, schemas=SCHEMAS)


def test_a_division_by_zero_ends_the_decision():
    body = "default x := false\n\nx if 100 / input.profile.rows > 5"

    assert answer(body, "x", document={"profile": {"rows": 0}}) == "divide by zero"
    assert found(body, schemas=SCHEMAS) == {"may-divide-by-zero"}


@pytest.mark.parametrize(
    "body",
    [
        'x if {\n\tis_string(input.message.arguments.a)\n\tstartswith(input.message.arguments.a, "x")\n}',
        'x if {\n\ta := input.message.arguments.a\n\tis_string(a)\n\tstartswith(a, "x")\n}',
        'x if startswith(input.message.name, "x")',
        'x if {\n\tname := input.message.name\n\tstartswith(name, "x")\n}',
        "x := [lower(group) | some group in input.principal.groups]",
        "x := time.parse_rfc3339_ns(input.time)",
        "x if {\n\tjson.is_valid(input.message.arguments.a)\n\tjson.unmarshal(input.message.arguments.a)\n}",
        "x if count(input.facts.sql.statements) > 2",
    ],
)
def test_what_the_schema_or_the_rule_makes_certain_is_fine(body):
    assert not {rule for rule in found(body, schemas=SCHEMAS) if rule.startswith("may-")}


def test_is_string_does_not_make_text_readable():
    body = "x := to_number(input.message.name) if is_string(input.message.name)"

    assert found(body, schemas=SCHEMAS) == {"may-not-parse"}


def test_text_that_the_gateway_writes_is_readable():
    times = {"properties": {"phase": {"const": "call"}, "began": {"type": "string", "format": "date-time"}}}

    assert found("x := time.parse_rfc3339_ns(input.began)", schemas=Schemas(times)) == set()
