import re
from pathlib import Path

import pytest

from gateway.core.errors import PolicyFault
from gateway.core.policy import cases, decision
from gateway.core.policy.cases import Masks, Want
from gateway.core.policy.compare import ABSENT, Difference
from gateway.core.policy.decision import Effect, Entrypoint

FILE = "gateway/call/call_cases.yaml"
PAGE = Path(__file__).parents[3] / "docs" / "policy-cases.md"


def read(text, path=FILE):
    return cases.parse(path, text.encode())


def refused(text):
    with pytest.raises(PolicyFault) as caught:
        read(text)
    return caught.value.detail


def one(want, *, entrypoint="call"):
    (case,) = read(f"entrypoint: {entrypoint}\ncases:\n  - note: one\n    want: {want}\n")
    return case.want


def differences(want, answer, *, entrypoint="call"):
    decided = decision.decode(Entrypoint[entrypoint.upper()], answer)
    return cases.differences(one(want, entrypoint=entrypoint), decided, answer)


def test_a_case_has_what_its_file_gives_and_its_own_over_it():
    first, second = read(
        """
entrypoint: call
given: {principal: {groups: [a], sub: s}, facts: {sql: 1}}
data: {gateway: {settings: {x: 1, y: 1}}}
cases:
  - note: the first
    input: {principal: {groups: [b, c]}, facts: null}
    data: {gateway: {settings: {y: 2}}}
    want: {effect: allow}
  - note: the second
    entrypoint: access
    without: [facts/sql, principal]
    todo: true
    want: {effect: deny, reasons: [nobody, nothing]}
"""
    )

    assert (first.note, first.file, first.line, first.entrypoint, first.todo) == (
        "the first",
        FILE,
        6,
        Entrypoint.CALL,
        False,
    )
    assert first.input == {"principal": {"groups": ["b", "c"], "sub": "s"}, "facts": None}
    assert first.data == {"gateway": {"settings": {"x": 1, "y": 2}}}
    assert first.want == Want(effect=Effect.ALLOW)
    assert (second.line, second.entrypoint, second.todo, second.input) == (10, Entrypoint.ACCESS, True, {"facts": {}})
    assert second.want.reasons == {"nobody", "nothing"}


def test_every_fault_of_a_file_is_told_with_its_line():
    told = refused(
        """entrypoint: cal
extra: 1
cases:
  - note: one
    wants: {effect: allow}
  - input: []
    entrypoint: catalogue
    want: {effect: require_approval, mask: [], reasons: deny}
  - note: three
    entrypoint: result
    todo: soon
    without: [nowhere]
    want:
      effect: deny
      approval: {quorums: 2}
      reasons: [Not A Code]
      mask: {includes: []}
  - just text
"""
    )

    assert [line.split(": ")[0] for line in told.splitlines()] == [
        f"{FILE}:{line}" for line in (1, 2, 4, 4, 5, 6, 6, 8, 8, 8, 11, 12, 15, 15, 15, 16, 17, 17, 18, 18, 18, 18)
    ]
    for part in ("has no 'extra'", "has no 'wants'", "has no 'mask'", "nothing at 'nowhere'", "'Not A Code'"):
        assert part in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- 1", f"{FILE}:1: the file is an object"),
        ("cases: []", "a list of at least one case"),
        ("entrypoint: call\ncases: [{note: ' ', want: {effect: deny}}]", "`note` says"),
        ("cases: [{note: x, want: {effect: deny}}]", "`entrypoint`, here or for the whole file"),
        ("entrypoint: call\ncases: [{note: x, want: {}}]", "`want` is an object"),
        ("entrypoint: call\ncases: [{note: x, want: deny}]", "`want` is an object"),
        ("entrypoint: access\ncases: [{note: x, want: {effect: require_approval}}]", "is one of allow, deny"),
        ("entrypoint: call\ncases: [{note: x, want: {visible: []}}]", "has no 'visible'"),
        ("entrypoint: call\ncases: [{note: x, want: {effect: deny, approval: {quorum: 1}}}]", "goes with"),
        ("entrypoint: call\ncases: [{note: x, want: {approval: {}}}]", "names at least one"),
        ("entrypoint: result\ncases: [{note: x, want: {mask: {include: []}}}]", "names at least one rule"),
        ("entrypoint: result\ncases: [{note: x, want: {mask: [{select: {class: PHI}}]}}]", "has `select` and `op"),
        (
            "entrypoint: result\ncases: [{note: x, want: {mask: {include: [{select: {clas: PHI}}]}}}]",
            "exactly one of class, field, path",
        ),
        ("entrypoint: result\ncases: [{note: x, want: {mask: {include: [{operator: {name: hide}}]}}}]", "a `name`"),
        ("entrypoint: approval\ncases: [{note: x, want: {counts: 'yes'}}]", "`counts` is true or false"),
        (
            "entrypoint: call\ncases:\n- {note: x, want: {effect: deny}}\n- {note: x, want: {effect: deny}}",
            f"{FILE}:4: the note 'x' is that of line 3 as well",
        ),
    ],
)
def test_a_case_that_would_test_nothing_or_something_else_is_refused(text, told):
    assert told in refused(text)


def test_what_is_not_named_may_be_anything():
    answer = {"effect": "deny", "reasons": [{"code": "x", "message": "m"}], "labels": {"a": 1}}

    assert differences("{effect: deny}", answer) == ()
    assert differences("{reasons: [x]}", answer) == ()
    assert differences("{labels: {a: 1}}", answer) == ()


def test_effect_reasons_and_labels_are_compared_whole():
    answer = {"effect": "deny", "reasons": [{"code": "x", "message": "m"}], "labels": {"a": {"b": 1, "c": 2}}}

    assert differences("{effect: allow, reasons: [x, y], labels: {a: {b: 2, d: 2}}}", answer) == (
        Difference("effect", "allow", "deny"),
        Difference("reasons", "y", ABSENT),
        Difference("labels.a.b", 2, 1),
        Difference("labels.a.d", 2, ABSENT),
        Difference("labels.a.c", ABSENT, 2),
    )
    assert differences("{reasons: []}", answer) == (Difference("reasons", ABSENT, "x"),)


def test_only_the_named_terms_of_an_approval_are_compared():
    answer = {"effect": "require_approval", "approval": {"groups": ["a", "b"], "quorum": 2}}

    assert differences("{approval: {quorum: 2, expires_s: 900, justification: optional, phase: call}}", answer) == ()
    assert differences("{approval: {groups: [a], quorum: 1}}", answer) == (
        Difference("approval.groups[1]", ABSENT, "b"),
        Difference("approval.quorum", 1, 2),
    )
    assert differences("{approval: {quorum: 1}}", {"effect": "allow"}) == (
        Difference("approval", {"quorum": 1}, ABSENT),
    )


RULES = [
    {"select": {"class": "PHI"}, "operator": {"name": "redact"}},
    {"select": {"field": "ssn"}, "operator": {"name": "partial", "keep": 4}},
]
ALLOW = {"effect": "allow", "mask": RULES}


def masked(want):
    return differences(f"{{mask: {want}}}", ALLOW, entrypoint="result")


def test_a_list_of_masks_is_the_whole_plan():
    whole = (
        "[{select: {class: PHI}, operator: {name: redact}}, {select: {field: ssn}, operator: {name: partial, keep: 4}}]"
    )

    assert masked(whole) == ()
    assert masked("[]") == (Difference("mask[0]", ABSENT, RULES[0]), Difference("mask[1]", ABSENT, RULES[1]))
    assert masked(whole.replace("4", "3")) == (Difference("mask[1].operator.keep", 3, 4),)


def test_masks_are_included_and_excluded_by_the_members_they_name():
    assert masked("{include: [{select: {field: ssn}}, {operator: {name: partial}}]}") == ()
    assert masked("{exclude: [{select: {field: name}}]}") == ()
    assert masked("{include: [{select: {field: ssn}, operator: {name: redact}}]}") == (
        Difference("mask", {"select": {"field": "ssn"}, "operator": {"name": "redact"}}, ABSENT),
    )
    assert masked("{exclude: [{operator: {name: partial}}]}") == (Difference("mask", ABSENT, RULES[1]),)
    assert one("{mask: {exclude: [{select: {class: PHI}}]}}", entrypoint="result").mask == Masks(
        exclude=({"select": {"class": "PHI"}},)
    )


def test_what_is_visible_and_what_counts_are_compared():
    catalogue = {"effect": "allow", "visible": ["a", "b"]}
    assert differences("{visible: [b, a]}", catalogue, entrypoint="catalogue") == ()
    assert differences("{visible: [a]}", catalogue, entrypoint="catalogue") == (Difference("visible", ABSENT, "b"),)
    approval = {"effect": "allow", "counts": True}
    assert differences("{counts: true}", approval, entrypoint="approval") == ()
    assert differences("{counts: false}", approval, entrypoint="approval") == (Difference("counts", False, True),)


def test_the_whole_answer_can_be_wanted_and_null_is_an_answer():
    assert differences("{result: {effect: deny}}", {"effect": "deny"}) == ()
    assert differences("{result: null}", None) == ()
    assert differences("{result: {a b: [1]}}", {"effect": "deny"}) == (
        Difference("result['a b']", [1], ABSENT),
        Difference("result.effect", ABSENT, "deny"),
    )


def test_a_malformed_answer_is_the_denial_that_it_would_be():
    want = "{effect: deny, reasons: [policy_malformed]}"
    assert differences(want, {"effect": "alow"}) == ()
    assert differences(want, None) == ()


def test_true_is_not_one_and_one_is_one_point_nought():
    assert differences("{labels: {a: true}}", {"effect": "deny", "labels": {"a": 1}}) == (
        Difference("labels.a", True, 1),
    )
    assert differences("{labels: {a: 1}}", {"effect": "deny", "labels": {"a": 1.0}}) == ()


def test_which_files_hold_cases_is_said_by_their_names():
    names = ["a/b_cases.yaml", "b_cases.yml", "b_cases.json", "b.yaml", "cases.yaml", "b_cases.rego", "data.json"]

    assert [name for name in names if cases.is_cases(name)] == names[:3]


def test_cases_in_json_are_the_same_cases():
    yaml = "entrypoint: call\ncases:\n- {note: x, want: {effect: deny}}"
    json = '{"entrypoint": "call", "cases": [\n\n{"note": "x", "want": {"effect": "deny"}}]}'

    assert cases.parse("a_cases.json", json.encode())[0].want == read(yaml)[0].want


def test_the_examples_of_the_page_are_cases():
    examples = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)

    assert [len(read(example)) for example in examples] == [2, 1]
