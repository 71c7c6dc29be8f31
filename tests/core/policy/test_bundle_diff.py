import orjson
import pytest

from gateway.core.policy import bundle, bundle_diff, syntax
from gateway.core.policy.bundle_diff import Change
from gateway.pdp.engine import load

RULES = """package a

default allow := false

# Why.
allow if {
	input.x
}

deny contains "one" if input.one

deny contains "two" if input.two
"""


def made(source=RULES, data=b'{"x": 1}', **files):
    return bundle.read(bundle.build({"a.rego": source.encode(), "d/data.json": data, **files}, revision="r"))


def compared(before, after):
    modules = (
        syntax.modules(orjson.loads(load(each.sources, each.data).get_ast_as_json())) for each in (before, after)
    )
    return bundle_diff.compare(before, after, tuple(modules))


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        ("input.x", "input.y", [("allow", Change.CHANGED)]),
        ("allow := false", "allow := true", [("allow", Change.CHANGED)]),
        ("input.two", "input.three", [("deny", Change.CHANGED)]),
        ('\ndeny contains "two" if input.two\n', "", [("deny", Change.CHANGED)]),
        ("deny", "refuse", [("deny", Change.REMOVED), ("refuse", Change.ADDED)]),
        ("# Why.", "# Why not.", []),
        ("\n\n", "\n\n\n", []),
    ],
)
def test_rules_are_told_by_what_they_say(before, after, wanted):
    found = compared(made(), made(RULES.replace(before, after)))

    assert [(rule.rule, rule.change) for rule in found.rules] == wanted
    assert not found.same


def test_another_package_has_other_rules():
    found = compared(made(), made(RULES.replace("package a", "package b")))

    assert {(rule.package, rule.change) for rule in found.rules} == {
        ("data.a", Change.REMOVED),
        ("data.b", Change.ADDED),
    }


def test_a_rule_that_moved_is_the_same_rule():
    head, rest = RULES.split("# Why.")
    moved = compared(made(), made("package a\n# Why." + rest, **{"b.rego": head.encode()}))

    assert moved.rules == ()
    assert [(path, change) for path, change in moved.files if path != ".manifest"] == [
        ("a.rego", Change.CHANGED),
        ("b.rego", Change.ADDED),
    ]


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        (b'{"x": 1}', b'{"x": true}', [("d/x", Change.CHANGED)]),
        (b'{"x": {"y": 1, "z": 2}}', b'{"x": {"y": 1}}', [("d/x/z", Change.REMOVED)]),
        (b'{"x": 1}', b'{"x": {"y": 1}}', [("d/x", Change.REMOVED), ("d/x/y", Change.ADDED)]),
        (b'{"x": [{"a": 1, "b": 2}]}', b'{"x": [{"b": 2, "a": 1}]}', []),
        (b'{"x": 1}', b'{"x": 1}', []),
    ],
)
def test_data_is_told_by_path_and_value(before, after, wanted):
    found = compared(made(data=before), made(data=after))

    assert [(value.path, value.change) for value in found.data] == wanted
    assert found.same == (before == after)


def test_the_manifest_is_told_by_member_and_the_source_line_by_line():
    before, after = (
        bundle.read(bundle.build({"a.rego": RULES.encode(), ".manifest": manifest}))
        for manifest in (b'{"revision": "r1"}', b'{"revision": "r2", "metadata": {"name": "clinic"}}')
    )

    found = compared(before, after)

    assert [(value.path, value.before, value.after) for value in found.manifest] == [
        ("metadata/name", None, "clinic"),
        ("revision", "r1", "r2"),
    ]
    assert '-  "revision": "r1",' in list(bundle_diff.source_diff(before, after))
