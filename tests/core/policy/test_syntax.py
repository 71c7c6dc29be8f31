import orjson

from gateway.core.policy import syntax
from gateway.core.policy.bundle import Source
from gateway.core.policy.syntax import Place, Ref
from gateway.pdp.engine import load


def module(text):
    engine = load((Source("é/a.rego", text),), {})
    return syntax.modules(orjson.loads(engine.get_ast_as_json()))[0]


def references(body):
    return {(".".join(ref.path), ref.dynamic) for ref in syntax.refs(module(f"package a\n{body}\n").rules[0].node)}


def test_a_module_has_its_file_package_imports_and_rules():
    read = module('package a["b-c"].d\nimport data.x.y\nimport data.x.z as w\nimport input.q\nr.s := 1\n')

    assert read.file == "é/a.rego"
    assert read.package == ("a", "b-c", "d")
    assert {alias: ref.path for alias, ref in read.imports.items()} == {
        "y": ("data", "x", "y"),
        "w": ("data", "x", "z"),
        "q": ("input", "q"),
    }
    assert [rule.path for rule in read.rules] == [("a", "b-c", "d", "r", "s")]


def test_rules_say_what_they_are():
    read = module(
        "package a\ndefault x := 1\nx := 2 if true\nf(p, [q]) := p\ns contains 1\nm[k] := v if some k, v in input.o\n"
    )

    assert [(rule.path[-1], rule.arity, rule.default) for rule in read.rules] == [
        ("x", None, True),
        ("x", None, False),
        ("f", 2, False),
        ("s", None, False),
        ("m", None, False),
    ]
    assert [rule.place.line for rule in read.rules] == [2, 3, 4, 5, 6]


def test_names_are_those_declared_within():
    body = "x := p\n\tsome y, i in q\n\tsome z\n\tevery k, w in x { k == w }"
    read = module(f"package a\nf(p, [q, _]) if {{\n\t{body}\n}}\n")

    assert {"p", "q", "x", "y", "i", "z", "k", "w"} <= read.rules[0].names


def test_a_declared_name_is_cut_at_the_right_place_after_wide_characters():
    read = module(
        'package a\n# ééé 漢字\nx if { "é" != "漢"; some wide in [1]; every other in [1] { other == wide } }\n'
    )

    assert {"wide", "other"} <= read.rules[0].names


def test_a_reference_is_one_with_its_constant_beginning():
    assert references('x := input.a.b["c-d"].e') == {("input.a.b.c-d.e", False)}
    assert references("x := data.a[input.b].c") == {("data.a", True), ("input.b", False)}
    assert references("x := input.a[_].b") == {("input.a", True), ("_", False)}


def test_a_reference_into_something_computed_is_none_but_its_parts_are():
    assert references("x := {input.a: 1}[input.b]") == {("input.a", False), ("input.b", False)}


def test_what_a_with_replaces_is_no_reference_and_what_it_puts_there_is():
    assert references("x if data.p.q with input.a as data.r") == {("data.p.q", False), ("data.r", False)}


def test_a_rules_own_name_is_no_use_of_it():
    assert references("x[input.k] := 1 if input.y") == {("input.k", False), ("input.y", False)}


def test_calls_are_told_by_name_with_their_arguments():
    rule = module("package a\nx if data.b.f(g(1), time.now_ns())\n").rules[0]

    found = {(".".join(call.name), len(call.arguments)) for call in syntax.calls(rule.node)}

    assert found == {("data.b.f", 2), ("g", 1), ("time.now_ns", 0)}


def test_references_are_resolved_from_the_root():
    read = module("package a.b\nimport data.x.y as z\nr := 1\n")
    place = Place(1, 1)

    def resolved(*path, names=frozenset()):
        ref = read.resolve(Ref(path, False, place), names)
        return ref and ".".join(ref.path)

    assert resolved("input", "q") == "input.q"
    assert resolved("z", "w") == "data.x.y.w"
    assert resolved("r") == "data.a.b.r"
    assert resolved("r", names=frozenset({"r"})) is None


def test_string_literals_are_read_and_others_are_not():
    assert syntax.literal({"String": {"value": "a"}}) == "a"
    assert syntax.literal({"Number": {"value": 1}}) is None
    assert syntax.literal(None) is None
