import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.policy import generate, samples
from gateway.core.policy.decision import Entrypoint
from gateway.pdp.schemas import schema

INPUT = schema("input")
VALID = jsonschema_rs.validator_for(INPUT)
NAMES = {each: "result_input" if each is Entrypoint.RESULT else each.name.lower() for each in Entrypoint}
BASES = {}
for _entrypoint, _document in samples.samples():
    BASES.setdefault(_entrypoint, []).append(_document)
KNOWN = generate.vocabulary({"roles": {"surgeon": {"rows": 25}}}, ["literal"], [d for ds in BASES.values() for d in ds])


def made(entrypoint, base=None, seed="s", mixes=30, known=KNOWN):
    base = BASES[entrypoint][0] if base is None else base
    return list(generate.inputs(INPUT, NAMES[entrypoint], known, base=base, seed=seed, mixes=mixes))


def small(node, base=None, mixes=20):
    """What is made from a schema with one definition."""
    known = generate.vocabulary({}, [], [])
    return list(generate.inputs({"$defs": {"x": node}}, "x", known, base=base or {}, seed="s", mixes=mixes))


def obj(**members):
    return {"type": "object", "properties": members, "required": list(members), "additionalProperties": False}


@pytest.mark.parametrize("entrypoint", Entrypoint)
def test_everything_that_is_made_is_in_the_schema(entrypoint):
    for base in BASES[entrypoint][:: max(1, len(BASES[entrypoint]) // 6)]:
        bad = [document for document in made(entrypoint, base) if not VALID.is_valid(document)]
        assert bad == []


@pytest.mark.parametrize("entrypoint", Entrypoint)
def test_the_largest_are_in_the_schema_with_every_member_and_full_arrays(entrypoint):
    arguments = {"base": BASES[entrypoint][0], "seed": "s", "count": 3}
    for document in generate.largest(INPUT, NAMES[entrypoint], KNOWN, **arguments):
        assert VALID.is_valid(document)
        assert len(document["principal"]["groups"]) == generate.SIZES["groups"]
        assert document.keys() == INPUT["$defs"][NAMES[entrypoint]]["properties"].keys()


@pytest.mark.parametrize("entrypoint", Entrypoint)
def test_the_base_comes_first(entrypoint):
    for base in BASES[entrypoint][:20]:
        assert made(entrypoint, base, mixes=0)[0] == base


def wanted(node, place=()):
    """Each way that a node, and each node below it, can be."""
    if "$ref" in node:
        yield from wanted(INPUT["$defs"][node["$ref"].removeprefix("#/$defs/")], place)
    for branch in node.get("oneOf", []):
        yield from wanted(branch, place)
    for value in node.get("enum", [node["const"]] if "const" in node else []):
        yield place, "is", repr(value)
    types = node.get("type", [])
    for kind in [types] if isinstance(types, str) else types:
        if kind == "boolean":
            yield from ((place, "is", repr(value)) for value in (True, False))
        if kind == "null":
            yield place, "is", "None"
        if kind == "array":
            yield from ((place, "has", count) for count in ("none", "one", "most"))
    for name, member in node.get("properties", {}).items():
        yield from wanted(member, (*place, name))
        if name not in node["required"]:
            yield from ((place, "there" if there else "not there", name) for there in (True, False))
    if isinstance(node.get("items"), dict):
        yield from wanted(node["items"], (*place, "*"))


def met(value, place=()):
    """The same, of one document; what is not there is seen by `absent`."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield place, "there", name
            yield from met(inner, (*place, name))
    elif isinstance(value, list):
        most = generate.SIZES.get(place[-1], generate.SIZE)
        yield place, "has", {0: "none", 1: "one", most: "most"}.get(len(value))
        for inner in value:
            yield from met(inner, (*place, "*"))
    else:
        yield place, "is", repr(value)


def absent(documents, wants):
    """Those of `wants` that say that a member is not there, and are met."""
    for place, what, name in wants:
        if what == "not there" and any(lacks(document, place, name) for document in documents):
            yield place, what, name


def lacks(value, place, name):
    if not place:
        return isinstance(value, dict) and name not in value
    if isinstance(value, list):
        return any(lacks(inner, place[1:], name) for inner in value)
    return isinstance(value, dict) and place[0] in value and lacks(value[place[0]], place[1:], name)


@pytest.mark.parametrize("entrypoint", Entrypoint)
def test_every_branch_word_flag_absence_and_size_in_the_schema_is_met(entrypoint):
    documents = [document for base in BASES[entrypoint][:3] for document in made(entrypoint, base)]
    wants = set(wanted({"$ref": f"#/$defs/{NAMES[entrypoint]}"}))

    seen = {each for document in documents for each in met(document)} | set(absent(documents, wants))

    assert sorted(wants - seen, key=repr) == []
    assert len(wants) > 10


def test_the_same_arguments_make_the_same_inputs_and_another_seed_others():
    assert made(Entrypoint.CALL) == made(Entrypoint.CALL)
    assert made(Entrypoint.CALL, seed="other") != made(Entrypoint.CALL)


def test_the_words_and_numbers_of_the_policy_are_offered():
    def texts(value):
        if isinstance(value, dict | list):
            for inner in value.values() if isinstance(value, dict) else value:
                yield from texts(inner)
        else:
            yield value

    found = {value for document in made(Entrypoint.RESULT, mixes=200) for value in texts(document)}
    assert {"surgeon", "literal", 24, 25, 26} <= found


def test_groups_of_the_policy_reach_the_principal():
    groups = {group for document in made(Entrypoint.CALL, mixes=200) for group in document["principal"]["groups"]}

    assert "surgeon" in groups


def test_a_base_that_is_elsewhere_in_a_choice_is_kept():
    choice = {
        "oneOf": [obj(kind={"const": "a"}, n={"type": "integer"}), obj(kind={"const": "b"}, n={"type": "integer"})]
    }

    documents = small(obj(x=choice), {"x": {"kind": "b", "n": 7}})

    assert documents[0] == {"x": {"kind": "b", "n": 7}}
    assert {document["x"]["kind"] for document in documents} == {"a", "b"}


def test_a_time_is_always_a_time():
    times = {document["time"] for document in made(Entrypoint.ACCESS, mixes=100)}

    assert "1970-01-01T00:00:00Z" in times
    assert all(time.endswith("Z") and "T" in time for time in times)


@pytest.mark.parametrize(
    "node",
    [
        obj(x={"type": "string", "pattern": "a+"}),
        obj(x={"allOf": [{"type": "string"}]}),
        obj(x={"$ref": "#/$defs/x"}),
        obj(x={"type": "string", "minLength": 1_000}),
        {"type": "array", "items": {"type": "string"}},
        obj(x=True),
    ],
)
def test_a_schema_that_is_not_understood_is_an_error(node):
    with pytest.raises(ValueError):
        small(node)


bounds = st.integers(-5, 5).map(lambda n: {"type": "integer", "minimum": n, "maximum": n + 3})
leaves = st.one_of(
    st.sampled_from([{"type": t} for t in ("string", "integer", "number", "boolean", "null", "object")]),
    st.sampled_from([{}, {"type": ["integer", "null"]}, {"type": "string", "format": "date-time"}]),
    st.lists(st.sampled_from(["a", "b", 1, None]), min_size=1, unique=True).map(lambda values: {"enum": values}),
    st.integers(0, 3).map(lambda n: {"type": "string", "minLength": n, "maxLength": n + 300}),
    bounds,
)


def _object(properties, required, open_):
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name in required],
        "additionalProperties": open_,
    }


nodes = st.recursive(
    leaves,
    lambda inner: st.one_of(
        inner.map(lambda values: {"type": "object", "additionalProperties": values}),
        st.builds(
            _object,
            st.dictionaries(st.sampled_from("abcd"), inner, min_size=1, max_size=3),
            st.sets(st.sampled_from("abcd")),
            st.booleans(),
        ),
        st.builds(
            lambda items, least, more: {"type": "array", "items": items, "minItems": least, "maxItems": least + more},
            inner,
            st.integers(0, 2),
            st.integers(1, 3),
        ),
        st.lists(inner, min_size=1, max_size=2).map(lambda branches: {"anyOf": branches}),
    ),
    max_leaves=6,
)


@given(nodes)
def test_whatever_the_schema_what_is_made_is_in_it(node):
    whole = obj(x=node)
    validator = jsonschema_rs.validator_for(whole)

    documents = small(whole, mixes=5)

    assert documents
    assert [document for document in documents if not validator.is_valid(document)] == []
