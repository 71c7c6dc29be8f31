import orjson
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.policy.cases import merged
from gateway.core.policy.compare import ABSENT, Difference, compare, sets, subset

JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "b c"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c d"]), inner),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from(["a", "b", "c"]), JSONS)


@given(JSONS)
def test_a_value_differs_nowhere_from_itself(value):
    assert compare("x", value, value) == []


@given(JSONS, JSONS)
def test_values_differ_somewhere_exactly_when_their_json_does(want, got):
    same = orjson.dumps(want, option=orjson.OPT_SORT_KEYS) == orjson.dumps(got, option=orjson.OPT_SORT_KEYS)

    assert (compare("x", want, got) == []) is same


@given(JSONS, JSONS)
def test_comparing_the_other_way_round_finds_the_same_places(want, got):
    def places(found):
        return {difference.path for difference in found}

    assert places(compare("x", want, got)) == places(compare("x", got, want))


def test_a_difference_is_told_as_deep_down_as_the_shapes_agree():
    assert compare("x", {"a": [1, {"b c": 2}], "d": 1}, {"a": [1, {"b c": 3}, 4]}) == [
        Difference("x.a[1]['b c']", 2, 3),
        Difference("x.a[2]", ABSENT, 4),
        Difference("x.d", 1, ABSENT),
    ]


@given(OBJECTS, OBJECTS)
def test_a_subset_lacks_nothing_of_what_it_was_laid_on(base, over):
    whole = merged(base, over)

    assert subset("x", {key: whole[key] for key in over}, whole) == []
    assert subset("x", over, None) == [Difference("x", over, ABSENT)]


@given(st.sets(st.sampled_from("abcd")), st.sets(st.sampled_from("abcd")))
def test_sets_differ_by_what_is_in_one_of_them(want, got):
    found = sets("x", want, got)

    assert {each.want for each in found if each.got is ABSENT} == want - got
    assert {each.got for each in found if each.want is ABSENT} == got - want


@given(OBJECTS, OBJECTS)
def test_merging_keeps_what_is_not_named_and_takes_what_is(base, over):
    before = orjson.dumps([base, over])
    whole = merged(base, over)

    assert orjson.dumps([base, over]) == before
    assert whole.keys() == base.keys() | over.keys()
    assert all(whole[key] == base[key] for key in base.keys() - over.keys())
    assert all(whole[key] == over[key] for key in over if not isinstance(over[key], dict))
    assert merged(whole, over) == whole


@given(JSONS, JSONS)
def test_a_difference_is_read_from_its_own_document(want, got):
    for difference in compare("x", {"a": want}, {"b": got}):
        assert Difference.read(difference.document) == difference
