from hypothesis import given
from hypothesis import strategies as st

from gateway.core.policy import outcome
from gateway.core.policy.outcome import Halt, Outcome
from gateway.core.policy.syntax import Place

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
NAMES = st.tuples(TEXTS, TEXTS)


@given(
    st.builds(
        Outcome,
        package=TEXTS,
        name=TEXTS,
        file=TEXTS,
        place=st.builds(Place, st.integers(1, 9), st.integers(1, 9)),
        passed=st.just(False),
        output=TEXTS,
        duration_ns=st.integers(0, 2**40),
        parts=st.dictionaries(NAMES, st.booleans(), max_size=3).map(lambda parts: tuple(sorted(parts.items()))),
        reasons=st.lists(TEXTS, max_size=2).map(tuple),
        halts=st.lists(st.builds(Halt, st.integers(1, 9), TEXTS, st.just(({"a": [1]}, {"b": []}))), max_size=2).map(
            tuple
        ),
    )
)
def test_an_outcome_is_read_from_its_own_document(each):
    assert outcome.read(each.document) == each


def made(**members):
    return Outcome("data.a", "test_x", "a.rego", Place(1, 1), **{"passed": False, **members})


def test_an_outcome_is_one_of_four_words():
    assert made(passed=True).word == "PASS"
    assert made().word == "FAIL"
    assert made(fault="why").word == "ERROR"
    assert made(skipped=True).word == "SKIPPED"


def test_each_word_is_read_back():
    for each in (made(passed=True), made(), made(fault="why"), made(skipped=True)):
        assert outcome.read(each.document) == each


def test_a_level_of_parameters_fails_when_one_below_it_does():
    document = made(parts=((("a", "x"), True), (("a", "y"), False), (("b", "x"), True))).document

    assert document["sub_results"] == {
        "a": {"name": "a", "fail": True, "sub_results": {"x": {"name": "x"}, "y": {"name": "y", "fail": True}}},
        "b": {"name": "b", "sub_results": {"x": {"name": "x"}}},
    }


def test_a_case_is_named_by_its_note_and_a_rule_by_its_name():
    assert outcome.title("data.a", "test_x") == "data.a.test_x"
    assert outcome.title("data.a", "what it shows") == "data.a: what it shows"


def test_what_a_decision_held_is_in_no_repr():
    assert "SSN" not in repr(Halt(1, "x", ({"SSN": ["123-45-6789"]},)))
