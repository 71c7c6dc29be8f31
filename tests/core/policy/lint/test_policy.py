"""What the checks look at: rules taken apart, and which entrypoints reach them."""

import orjson

from gateway.core.policy import syntax
from gateway.core.policy.bundle import Manifest, Source
from gateway.core.policy.decision import Entrypoint
from gateway.core.policy.lint import UNKNOWN
from gateway.core.policy.lint.policy import Policy
from gateway.pdp.engine import load


def policy(*texts):
    sources = tuple(Source(f"{number}.rego", text) for number, text in enumerate(texts))
    return Policy(syntax.modules(orjson.loads(load(sources, {}).get_ast_as_json())), {}, Manifest(), UNKNOWN)


def test_rules_are_reached_through_functions_imports_and_packages():
    whole = policy(
        "package gateway.call\n\nimport data.lib\n\ndecision := lib.f(1)\n",
        "package lib\n\nf(x) := data.other\n\nunused := 1\n",
        "package other\n\na := 1\n",
        "package gateway.result\n\ndecision := data.other.a.b.c\n",
    )

    assert whole.reach[("data", "lib", "f")] == {Entrypoint.CALL}
    assert whole.reach[("data", "other", "a")] == {Entrypoint.CALL, Entrypoint.RESULT}
    assert ("data", "lib", "unused") not in whole.reach


def test_a_local_name_is_traced_to_what_it_stands_for():
    body = "x if {\n\tp := input.principal\n\tsome g in p.groups\n\tg.name\n\tunknown.z\n\tq := f(1)\n\tq.r\n}\n"
    (scope,) = policy(f"package a\n\n{body}").scopes
    traced = {scope.trace({kind: node}) for kind in ("RefDot",) for node in scope.nodes[kind]}

    assert ("input", "principal", "groups") in traced
    assert ("input", "principal", "groups", None, "name") in traced
    assert ("data", "a", "unknown", "z") in traced
    assert ("?q", "r") in traced


def test_a_name_that_stands_for_itself_is_not_traced_for_ever():
    (scope,) = policy("package a\n\nx if {\n\ty := y.z\n\ty.a\n}\n").scopes

    assert all(scope.trace({"RefDot": node})[0] == "?y" for node in scope.nodes["RefDot"])
