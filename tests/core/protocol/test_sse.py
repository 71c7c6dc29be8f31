"""Event streams read and written: wherever the bytes are cut, the same events come out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import UpstreamFault
from gateway.core.protocol import sse
from gateway.core.protocol.sse import Decoder, Event


def decode(*pieces, limit=10_000):
    decoder = Decoder(limit)
    return [event for piece in pieces for event in decoder.feed(piece)]


STREAMS = [
    (b"data: a\n\n", [Event(b"a")]),
    (b"data:a\r\n\r\n", [Event(b"a")]),
    (b"data:  a\r\r", [Event(b" a")]),
    (b"data: a\ndata: b\n\n", [Event(b"a\nb")]),
    (b"data\n\n", [Event(b"")]),
    (b"data: a\n\ndata: b\n\n", [Event(b"a"), Event(b"b")]),
    (b"event: message\nid: 7\ndata: a\n\ndata: b\n\n", [Event(b"a", id="7"), Event(b"b", id="7")]),
    (b"event: ping\ndata: a\n\ndata: b\n\n", [Event(b"a", type="ping"), Event(b"b")]),
    (b"event: ping\n\ndata: b\n\n", [Event(b"b")]),
    (b": comment\n\ndata: a\n\n", [Event(b"a")]),
    (b":\n:\n:\ndata: a\n\n", [Event(b"a")]),
    (b"\xef\xbb\xbfdata: a\n\n", [Event(b"a")]),
    (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [Event(b"a")]),
    (b"id: 1\0\ndata: a\n\n", [Event(b"a")]),
    (b"retry: 10\nunknown: x\ndata: a\n\n", [Event(b"a")]),
    (b"data: never finished\n", []),
    (b"data: \xe2\x80\xa8\n\n", [Event(b"\xe2\x80\xa8")]),
    (b"\n\n\r\n", []),
]


@pytest.mark.parametrize(("stream", "events"), STREAMS)
def test_a_stream_is_read_as_the_standard_says_also_byte_by_byte(stream, events):
    assert decode(stream) == events
    assert decode(*(stream[at : at + 1] for at in range(len(stream)))) == events


lines = st.sampled_from([b"data: x", b"data", b": c", b"event: e", b"id: 1", b"", b"", b"junk", b"data:\xc3\xa9"])
streams = st.lists(st.tuples(lines, st.sampled_from([b"\n", b"\r", b"\r\n"])), max_size=20).map(
    lambda parts: b"".join(line + end for line, end in parts)
)


@given(streams | st.binary(max_size=60), st.data())
def test_where_a_stream_is_cut_makes_no_difference(stream, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    assert decode(*pieces) == decode(stream)


@given(st.lists(st.binary().filter(lambda data: not {10, 13} & set(data)), max_size=5))
def test_decoding_undoes_encoding(messages):
    stream = b"".join(sse.comment("still there") + sse.event(message) for message in messages)

    assert decode(stream) == [Event(message) for message in messages]


@pytest.mark.parametrize("digits", [10, 400, 5000])
def test_a_pause_that_no_clock_can_hold_is_none(digits):
    decoder = Decoder(10_000)

    assert decoder.feed(b"retry: 250\nretry: " + b"9" * digits + b"\ndata: a\n\n") == [Event(b"a")]
    assert decoder.retry_s == 0.25


def test_an_event_larger_than_the_limit_is_refused_before_it_is_whole():
    decoder = Decoder(1000)
    decoder.feed(b"data: " + b"x" * 900)

    with pytest.raises(UpstreamFault) as refused:
        decoder.feed(b"x" * 200)
    assert refused.value.kind == "oversize"


def test_many_lines_of_one_event_count_together():
    with pytest.raises(UpstreamFault):
        decode(b"data: xxxxxxxxxx\n" * 100, limit=1000)


def test_comments_and_earlier_events_do_not_count():
    kept_alive = (b": still there\n" * 3 + b"data: x\n\n") * 200

    assert len(decode(kept_alive, limit=100)) == 200
    assert decode(b":\n" * 5000, limit=100) == []


def test_what_an_event_holds_is_in_no_repr():
    assert "Synthia" not in repr(Event(b"Synthia", id="Synthia"))
