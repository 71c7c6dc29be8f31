"""Leaves: what is written is read back, and nothing else is."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.evidence import leaf
from gateway.core.evidence.leaf import BodyRef, Place
from gateway.core.evidence.record import LeafType, Record

HEX = "0123456789abcdef" * 4
REF = BodyRef("request", HEX, 129, "session-1", HEX)
RECORD = Record(LeafType.EXCHANGE_INTENT, {"tool": "run_sql", "effect": "allow"}, "session-1", "exchange-1", None)
PLACE = Place(7, "leaf-1", "2026-11-22T12:00:00.000000Z", 3, HEX)
ENTRY = leaf.format(RECORD, PLACE, (REF,))

members = st.dictionaries(st.text("abc", max_size=3), st.text(max_size=5) | st.integers(-9, 9) | st.booleans())
names = st.none() | st.text("xyz", min_size=1)


@given(st.sampled_from(LeafType), members, names, names, names, st.integers(0, 9), st.integers(0, 9))
def test_what_is_written_is_read_back(kind, about, session, exchange, approval, index, sseq):
    record = Record(kind, about, session, exchange, approval)
    place = Place(index, "id", "time", None if session is None else sseq, HEX if session and sseq else None)
    entry = leaf.format(record, place, (REF,))

    found = leaf.parse(entry)

    assert (found.place, found.type, found.members, found.bodies) == (place, kind, about, (REF,))
    assert (found.session, found.exchange, found.approval, found.entry) == (session, exchange, approval, entry)


def test_bodies_are_in_the_leaf_by_digest_only():
    entry = leaf.format(Record(LeafType.HEARTBEAT, {}, bodies={"request": b"Jane Roe"}), Place(0, "id", "time"), (REF,))

    assert b"Jane" not in entry
    assert leaf.parse(entry).body("request") == REF
    assert leaf.parse(entry).body("response") is None


def test_a_leaf_that_would_not_fit_an_entry_bundle_is_not_written():
    with pytest.raises(ValueError, match="larger than the limit"):
        leaf.format(Record(LeafType.HEARTBEAT, {"why": "x" * 65_536}), Place(0, "id", "time"), ())


def test_an_entry_that_is_too_long_is_not_read():
    with pytest.raises(ValueError, match="larger"):
        leaf.parse(b" " * 65_536)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_with_a_sentence(data):
    with pytest.raises(ValueError):
        leaf.parse(data)


@given(st.integers(0, len(ENTRY) - 1), st.integers(1, 255))
def test_no_two_entries_read_alike(position, change):
    altered = bytearray(ENTRY)
    altered[position] ^= change
    try:
        found = leaf.parse(bytes(altered))
    except ValueError:
        return
    assert found != leaf.parse(ENTRY)


def altered(**changes):
    document = orjson.loads(ENTRY)
    for name, value in changes.items():
        if value is None:
            del document[name]
        else:
            document[name] = value
    return document


@pytest.mark.parametrize(
    "document",
    [
        [],
        altered(v=2),
        altered(v="1"),
        altered(type="exchange.undone"),
        altered(type=None),
        altered(members=[]),
        altered(index=-1),
        altered(index=True),
        altered(id=5),
        altered(session=None),
        altered(session=5),
        altered(sseq=None),
        altered(sseq=-1),
        altered(sseq=0),
        altered(sprev=None),
        altered(sprev="f" * 63),
        altered(sprev=HEX.upper()),
        altered(extra=1),
        altered(bodies={}),
        altered(bodies=[1]),
        altered(bodies=[{"name": "request"}]),
        altered(bodies=orjson.loads(ENTRY)["bodies"] * 2),
        altered(bodies=[{**orjson.loads(ENTRY)["bodies"][0], "alg": "none"}]),
        altered(bodies=[{**orjson.loads(ENTRY)["bodies"][0], "ct": "short"}]),
        altered(bodies=[{**orjson.loads(ENTRY)["bodies"][0], "kc": HEX.upper()}]),
    ],
)
def test_what_is_almost_a_leaf_is_refused(document):
    with pytest.raises(ValueError):
        leaf.parse(orjson.dumps(document, option=orjson.OPT_SORT_KEYS))


def test_a_leaf_written_in_another_order_is_refused():
    with pytest.raises(ValueError, match="canonical"):
        leaf.parse(orjson.dumps(dict(reversed(orjson.loads(ENTRY).items()))))
