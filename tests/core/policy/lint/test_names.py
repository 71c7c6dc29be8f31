"""Names that stand for something else than they seem to, on the engine and in the findings."""

import pytest

from gateway.core.policy.lint import Schemas
from tests.core.policy.lint.policies import answer, found


@pytest.mark.parametrize("call", ["nosuch(1)", 'crypto.sha256("a")', "any([true])", 'startswith("a")'])
def test_a_call_that_cannot_be_made_is_noticed_only_when_it_is_reached(call):
    body = f"default safe := true\n\nsafe := false if {{\n\tinput.bad\n\t{call}\n}}"

    assert answer(body, "safe") is True
    assert isinstance(answer(body, "safe", document={"bad": 1}), str)
    assert found(body) & {"unknown-function", "deprecated", "arity"}


def test_every_builtin_may_take_its_result_as_a_last_argument():
    assert "arity" not in found("x := y if count(input.a, y)")
    assert "arity" in found("x := y if count(input.a, 1, y)")
    assert "arity" not in found('x if print("a", 1, 2)')


def test_of_two_imports_with_one_name_one_is_ignored():
    data = {"gateway": {"settings": {"gate": False, "open": True}}}
    body = "import data.gateway.settings.gate\nimport data.gateway.settings.open as gate\n\nx := gate"

    assert answer(body, "x", data=data) in (True, False)
    assert "duplicate-import" in found(body, data=data)


def test_a_rule_hides_the_import_of_its_name():
    data = {"gateway": {"settings": {"limit": 5}}}
    body = "import data.gateway.settings.limit\n\nlimit := 5000\n\nx := limit"

    assert answer(body, "x", data=data) == 5000
    assert "shadowed-import" in found(body, data=data)


def test_an_argument_called_input_hides_the_document():
    body = 'is_staff(input) if input == "staff"\n\nx if is_staff("staff")'

    assert answer(body, "x", document={"principal": "visitor"}) is True
    assert "shadows-root" in found(body)


def test_a_rule_of_a_builtins_name_replaces_it_in_the_package():
    body = "count(given) := 0 if given\n\nx := count([1, 2])"

    assert answer(body, "x") == 0
    assert "shadows-builtin" in found(body)


def test_an_import_that_is_only_replaced_in_a_test_is_used():
    body = "import data.gateway.settings\n\nx if input.message.name with settings.roles as {}"

    assert "unused-import" not in found(body)


def test_a_setting_that_the_schema_has_need_not_be_set():
    settings = {"type": "object", "properties": {"hours": {"type": "object"}}, "additionalProperties": False}
    body = "x := data.gateway.settings.hours.start"

    assert found(body, schemas=Schemas(settings=settings)) <= {"settings-schema"}
    assert "unknown-reference" in found(body)
    assert "unknown-reference" in found("x := data.gateway.settings.hour", schemas=Schemas(settings=settings))
