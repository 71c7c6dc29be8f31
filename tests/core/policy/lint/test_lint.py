"""Each pitfall with the wrong decision that it makes, and the finding that keeps it from being made."""

import orjson
import pytest

from gateway.core.policy import lint
from gateway.core.policy.bundle import Manifest, Source
from gateway.core.policy.decision import Entrypoint
from gateway.pdp.engine import load

DEFAULTS = 'default decision := {"effect": "deny"}'
ENTRYPOINTS = {
    f"{entrypoint.value}.rego": f"package {entrypoint.value.replace('/', '.').removesuffix('.decision')}\n{DEFAULTS}\n"
    for entrypoint in Entrypoint
}
CALL = ENTRYPOINTS["gateway/call/decision.rego"]


def findings(text, *, data=None, roots=("",), others=ENTRYPOINTS, path="gateway/call/decision.rego"):
    """What the lint finds when one source is `text`."""
    sources = tuple(Source(name, content) for name, content in {**others, path: text}.items())
    engine = load(sources, {})
    return lint.check(orjson.loads(engine.get_ast_as_json()), data or {}, Manifest(roots=roots))


def rules(text, **options):
    return [finding.rule for finding in findings(text, **options)]


def answer(text, rule, *, data=None, document=None):
    """What the engine says, so that each test shows what it protects from."""
    engine = load((Source("a.rego", text),), data or {})
    engine.set_input_json(orjson.dumps(document or {}).decode())
    return orjson.loads(engine.eval_rule_as_json(rule))


def test_a_plain_policy_has_no_findings():
    assert rules(CALL + 'decision := {"effect": "allow"} if input.x == 1\n') == []


def test_a_finding_says_where_why_and_what_to_do():
    finding = findings(CALL + "x if {\n\tsome w in walk(input)\n\tw\n}\n")[0]

    assert str(finding).startswith("gateway/call/decision.rego:4:12: `walk(x)` used as a value")
    assert "Fix: write `walk(x, [path, value])`." in str(finding)


def test_walk_as_a_value_would_never_find_what_it_looks_for():
    text = 'package gateway.call\nfound if {\n\t[_, value] := walk(input)\n\tvalue == "secret"\n}\n'

    assert answer(text + "default found := false\n", "data.gateway.call.found", document={"a": "secret"}) is False
    assert "walk-as-value" in rules(CALL + text.partition("\n")[2])
    assert rules(CALL + 'found if {\n\twalk(input, [_, value])\n\tvalue == "secret"\n}\n') == []


def test_a_function_that_does_not_exist_would_be_noticed_by_nobody():
    text = "package gateway.call\ndefault safe := true\nsafe := false if {\n\tinput.bad\n\tnosuch(input)\n}\n"

    assert answer(text, "data.gateway.call.safe") is True
    assert rules(CALL + "x if nosuch(input)\n") == ["unknown-function"]
    assert rules(CALL + 'x if crypto.sha256("a")\n') == ["unknown-function"]


def test_a_call_with_the_wrong_number_of_arguments_is_found():
    function = "f(a, b) := a if b\n"

    assert rules(CALL + function + "x if f(1)\n") == ["arity"]
    assert rules(CALL + function + "x if f(1, 2)\ny := z if f(1, 2, z)\n") == []


def test_a_function_of_another_package_is_known_by_its_path_and_by_its_import():
    other = {"gateway/lib.rego": "package gateway.lib\nf(a) := a\n"}

    assert rules(CALL + "x := data.gateway.lib.f(1)\n", others={**ENTRYPOINTS, **other}) == []
    imported = CALL.replace("\n", "\nimport data.gateway.lib as l\n", 1)
    assert rules(imported + "x := l.f(1)\n", others={**ENTRYPOINTS, **other}) == []
    assert rules(imported + "x := l.g(1)\n", others={**ENTRYPOINTS, **other}) == ["unknown-function"]


def test_a_function_that_only_tests_have_is_not_there_when_deciding():
    other = {"gateway/call_test.rego": "package gateway.call_test\nf(a) := a\n"}

    assert rules(CALL + "x := data.gateway.call_test.f(1)\n", others={**ENTRYPOINTS, **other}) == ["unknown-function"]


@pytest.mark.parametrize(
    "call", ["time.now_ns()", 'rand.intn("a", 9)', 'uuid.rfc4122("a")', 'http.send({"url": ""})', "opa.runtime()"]
)
def test_what_answers_differently_each_time_is_found(call):
    assert rules(CALL + f"x := {call}\n") == ["nondeterministic"]


@pytest.mark.parametrize("call", ['strings.count("x", "")', "object.subset([1], [])", 'time.parse_ns("é", "x")'])
def test_what_panics_is_found(call):
    try:
        answer(f"package a\nx := {call}\n", "data.a.x")
    except BaseException as raised:
        told = type(raised).__name__
    else:
        told = "nothing"

    assert told == "PanicException"
    assert rules(CALL + f"x := {call}\n") == ["panics"]


def test_a_function_that_calls_itself_would_crash_the_process():
    assert rules(CALL + "f(x) := f(x)\n") == ["recursion"]


def test_what_goes_round_by_way_of_a_package_is_told_where_the_package_is_named_alone():
    assert rules(CALL + 'x := data.gateway[name] if name := "call"\n') == ["whole-package"]


def test_a_circle_through_several_rules_and_packages_is_found():
    other = {"gateway/b.rego": "package gateway.b\ny if data.gateway.call.x\n"}

    assert set(rules(CALL + "x if data.gateway.b.y\n", others={**ENTRYPOINTS, **other})) == {"recursion"}


def test_a_local_name_that_is_also_a_rule_is_no_circle():
    assert rules(CALL + "name := 1\nf(name) := name\ny if { some name in [1]; name == 1 }\n") == []


@pytest.mark.parametrize("entrypoint", Entrypoint)
def test_an_entrypoint_without_a_default_could_be_undefined(entrypoint):
    package = entrypoint.value.replace("/", ".").removesuffix(".decision")
    text = f'package {package}\ndecision := {{"effect": "allow"}} if input.x\n'

    assert rules(text, path=f"{entrypoint.value}.rego") == ["missing-default"]


def test_an_entrypoint_that_is_missing_is_found():
    others = {path: text for path, text in ENTRYPOINTS.items() if "access" not in path}

    assert rules(CALL, others=others) == ["missing-entrypoint"]


def test_an_entrypoint_in_a_test_is_no_entrypoint():
    others = {path: text for path, text in ENTRYPOINTS.items() if "access" not in path}
    test = {"a_test.rego": ENTRYPOINTS["gateway/access/decision.rego"]}

    assert set(rules(CALL, others={**others, **test})) == {"missing-entrypoint", "test-package"}


def test_a_second_default_is_found():
    assert rules(CALL + 'default decision := {"effect": "allow"}\n') == ["duplicate-default", "open-default"]


@pytest.mark.parametrize("default", ['{"effect": "allow"}', "{}", "false", '{"reasons": []}', "null"])
def test_a_default_that_does_not_deny_is_found(default):
    assert rules(f"package gateway.call\ndefault decision := {default}\n") == ["open-default"]


def test_base_data_would_silently_replace_a_rule():
    data = {"gateway": {"call": {"decision": {"effect": "allow"}}}}

    assert answer(CALL, "data.gateway.call.decision", data=data) == {"effect": "allow"}
    assert rules(CALL, data=data) == ["data-over-rule"]
    assert rules(CALL, data={"gateway": {"call": 1}}) == ["data-over-rule"]
    assert rules(CALL, data={"gateway": {"settings": {"call": 1}}}) == []


def test_a_package_outside_the_roots_is_found():
    assert set(rules(CALL, roots=("other",))) == {"outside-roots"}
    assert rules(CALL, roots=("gateway",)) == []


def test_a_name_that_is_a_function_and_a_rule_is_found():
    assert rules(CALL + "a := 1\na(x) := x\n") == ["conflict"]


def test_a_misspelt_reference_would_be_undefined_and_its_negation_true():
    text = CALL + "fine := true\nopen if not data.gateway.call.fien\n"

    assert answer(text, "data.gateway.call.open") is True
    assert rules(text) == ["unknown-reference"]


def test_a_reference_into_base_data_is_looked_up():
    data = {"settings": {"rows": {"a": 5}}}

    assert rules(CALL + "x := data.settings.rows[input.role]\n", data=data) == []
    assert rules(CALL + "x := data.settings.row[input.role]\n", data=data) == ["unknown-reference"]


def test_a_whole_package_would_let_an_unrelated_error_fail_the_decision():
    other = {"gateway/b.rego": "package gateway.b\ny := 1\nz := to_number(input.text)\n"}

    assert rules(CALL + "x := count(data.gateway.b)\n", others={**ENTRYPOINTS, **other}) == ["whole-package"]


@pytest.mark.parametrize(
    "negation", ['not "x" in input.nope', 'not startswith(input.nope, "a")', "not input.nope < 5", "not f(input.nope)"]
)
def test_the_negation_of_something_missing_would_hold(negation):
    text = CALL + f"f(x) := x\nopen if {negation}\n"

    assert answer(text, "data.gateway.call.open") is True
    assert rules(text) == ["not-undefined"]


def test_the_negation_of_a_plain_reference_or_a_bound_value_is_fine():
    assert rules(CALL + "x if not input.nope\ny if {\n\tname := input.name\n\tnot name in [1]\n}\n") == []


def test_json_remove_with_a_leading_slash_would_remove_nothing():
    text = CALL + 'left := json.remove(input, ["/a"])\n'

    assert answer(text, "data.gateway.call.left", document={"a": 1}) == {"a": 1}
    assert rules(text) == ["leading-slash"]


def test_a_test_source_in_a_deciding_package_is_found():
    others = {**ENTRYPOINTS, "gateway/call_test.rego": "package gateway.call\nx := 1\n"}

    assert rules(CALL, others=others) == ["test-package"]


def test_tests_may_negate_and_refer_as_they_like():
    others = {**ENTRYPOINTS, "call_test.rego": 'package gateway.call_test\ntest_x if not "x" in input.nope\n'}

    assert rules(CALL, others=others) == []


def test_what_with_replaces_need_not_be_there():
    others = {
        **ENTRYPOINTS,
        "call_test.rego": "package gateway.call_test\ntest_x if data.gateway.call.decision with data.nowhere.x as 1\n",
    }

    assert rules(CALL, others=others) == []


@pytest.mark.parametrize(
    "text", ["x := " + "[" * 13 + "]" * 13, 'x := {"a":' * 13 + "1" + "}" * 13, "x := " + "([{" * 7 + "1"]
)
def test_a_literal_that_would_take_for_ever_to_parse_is_found_without_parsing(text):
    found = lint.unparsed((Source("a.rego", f"package a\n{text}\n"),))

    assert [(finding.rule, finding.place.line) for finding in found] == [("deep-literal", 2)]


def test_brackets_in_strings_and_comments_do_not_count():
    text = 'x := "' + "[" * 50 + '"\n# ' + "{" * 50 + "\ny := `" + "(" * 50 + "`\n"

    assert lint.unparsed((Source("a.rego", text),)) == []
