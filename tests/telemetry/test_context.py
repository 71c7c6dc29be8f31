"""W3C Trace Context: what is one and what is none, and where it goes on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.protocol.jsonrpc import Notification, Request
from gateway.telemetry import context
from gateway.telemetry.context import Context

GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NONE = {
    "upper case": GOOD.upper(),
    "a trace of zeros": "00-" + "0" * 32 + "-b7ad6b7169203331-01",
    "a span of zeros": "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
    "version ff": "ff" + GOOD[2:],
    "more after version 00": GOOD + "-more",
    "too short": GOOD[:-1],
    "other digits": GOOD.replace("0af", "٠af"),
    "a line end": GOOD + "\n",
    "endless": "01" + GOOD[2:] + "-" + "x" * 1000,
    "no text": 7,
    "nothing": None,
}


def test_a_traceparent_says_trace_span_and_whether_it_is_recorded():
    assert context.parse(GOOD) == Context("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", sampled=True)
    assert not context.parse(GOOD[:-2] + "00").sampled


def test_a_later_version_is_read_as_far_as_it_is_known():
    assert context.parse("cc" + GOOD[2:] + "-what-will-be") == context.parse(GOOD)


@pytest.mark.parametrize("text", NONE.values(), ids=NONE)
def test_what_is_no_traceparent_is_as_if_nothing_had_been_said(text):
    assert context.parse(text) is None


@given(st.text() | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"))
def test_whatever_is_read_is_written_as_it_is_read_again(text):
    found = context.parse(text)
    assert found is None or context.parse(context.format(found)) == found


def test_a_child_is_another_span_of_the_same_trace():
    parent = context.parse(GOOD)
    child = context.child(parent)
    assert (child.trace, child.sampled) == (parent.trace, True)
    assert child.span != parent.span


def test_as_many_traces_are_recorded_as_are_wanted():
    assert not any(context.root(0.0).sampled for _ in range(100))
    assert all(context.root(1.0).sampled for _ in range(100))
    assert 300 < sum(context.root(0.5).sampled for _ in range(1000)) < 700


def test_a_request_goes_on_with_the_context_beside_what_else_its_meta_says():
    meta = {"traceparent": "old", "baggage": "kept=1", "progressToken": 3}
    sent = context.onward(Request(1, "tools/call", {"name": "a", "_meta": meta}), context.parse(GOOD))
    assert sent.params == {"name": "a", "_meta": {"traceparent": GOOD, "baggage": "kept=1", "progressToken": 3}}
    assert context.said(sent) == context.parse(GOOD)
    assert meta["traceparent"] == "old"


def test_a_request_without_meta_gets_one_and_one_whose_meta_is_none_is_left_alone():
    here = context.parse(GOOD)
    assert context.onward(Request(1, "ping"), here).params == {"_meta": {"traceparent": GOOD}}
    odd = Request(1, "ping", {"_meta": ["odd"]})
    assert context.onward(odd, here) is odd


def test_what_has_no_answer_carries_no_context():
    note = Notification("notifications/progress", {"_meta": {}})
    assert context.onward(note, context.parse(GOOD)) is note
