import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import PolicyFault
from gateway.core.policy import metadata
from gateway.core.policy.bundle import Source


def found(text):
    return [(each.line, each.path, each.members) for each in metadata.find(Source("a.rego", text))]


def test_a_block_is_about_what_follows_it():
    text = """\
# METADATA
# title: The package
package a.b

# METADATA
# title: A rule
# custom:
#   tier: 1

# a remark in between
allow if input.x

# METADATA
# scope: document
# title: All of them
default deny := false
"""
    assert found(text) == [
        (3, ("a", "b"), {"title": "The package", "scope": "package"}),
        (11, ("a", "b", "allow"), {"title": "A rule", "custom": {"tier": 1}, "scope": "rule"}),
        (16, ("a", "b", "deny"), {"scope": "document", "title": "All of them"}),
    ]


def test_a_comment_that_only_speaks_of_metadata_is_none():
    assert found("package a\n# METADATA is great\nx := 1\n# title: no\n") == []


@pytest.mark.parametrize("block", ["# title: [", "# - a", "# a: *x", ""])
def test_a_block_that_holds_no_members_is_named_with_its_line(block):
    with pytest.raises(PolicyFault, match=r"^a\.rego:[234]: "):
        found(f"package a\n# METADATA\n{block}\nx := 1\n")


@given(st.text())
def test_text_of_any_kind_ends_in_annotations_or_a_policy_fault(text):
    try:
        found(f"package a\n# METADATA\n# {text}\nx := 1\n# METADATA")
    except PolicyFault:
        return
