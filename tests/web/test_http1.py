"""HTTP/1.1 without a socket: however bytes are cut, they say the same; whatever they are, nothing is raised."""

import itertools

import h11
from hypothesis import given
from hypothesis import strategies as st

from gateway.web.http1 import Request, Requests, Response, refusal

DATE = b"date: Thu, 01 Jan 1970 00:00:00 GMT"
TOKEN = st.text("abcdefghij-", min_size=1, max_size=8).map(str.encode)
VALUE = st.binary(max_size=12).map(lambda b: bytes(c for c in b if 32 < c < 127))


@st.composite
def requests(draw):
    """One well-formed request: its bytes and what they say."""
    method = draw(st.sampled_from([b"GET", b"POST", b"DELETE"]))
    target = b"/" + draw(TOKEN)
    headers = [(b"host", b"x"), *draw(st.lists(st.tuples(TOKEN.map(lambda n: b"x-" + n), VALUE), max_size=4))]
    chunks = draw(st.lists(st.binary(min_size=1, max_size=50), max_size=3))
    body = b"".join(chunks)
    if draw(st.booleans()):
        headers.append((b"transfer-encoding", b"chunked"))
        framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    else:
        headers.append((b"content-length", b"%d" % len(body)))
        framed = body
    lines = b"".join(b"%s: %s\r\n" % header for header in headers)
    return b"%s %s HTTP/1.1\r\n%s\r\n%s" % (method, target, lines, framed), (method.decode(), target, headers, body)


def cut(data, places):
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(st.lists(requests(), min_size=1, max_size=4), st.lists(st.integers(0, 2000), max_size=12))
def test_requests_say_the_same_however_their_bytes_are_cut(wanted, places):
    parser = Requests(4096, 4096)
    for piece in cut(b"".join(data for data, _ in wanted), places):
        parser.feed(piece)
    assert parser.refused is None
    assert [(r.method, r.target, r.headers, r.take()) for r in parser.ready] == [said for _, said in wanted]
    assert all(request.complete for request in parser.ready)


@given(requests(), st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=3)), max_size=4), st.data())
def test_damaged_bytes_raise_nothing_and_stay_within_the_limits(request_, damage, data):
    raw = bytearray(request_[0] * 2)
    for place, replacement in damage:
        raw[place % len(raw) : place % len(raw) + len(replacement)] = replacement
    parser = Requests(300, 100)
    for piece in cut(bytes(raw), data.draw(st.lists(st.integers(0, 2000), max_size=5))):
        parser.feed(piece)
    for request in parser.ready:
        assert len(request.take()) <= 100
        assert sum(len(n) + len(v) for n, v in request.headers) <= 300


@given(
    st.sampled_from(["GET", "HEAD"]),
    st.sampled_from(["1.1", "1.0"]),
    st.sampled_from([200, 202, 204, 304, 400, 503]),
    st.lists(st.binary(max_size=30), min_size=1, max_size=4),
    st.booleans(),
)
def test_a_peer_reads_back_the_response_that_the_app_sent(method, version, status, pieces, declared):
    body = b"".join(pieces)
    # A 204 has no length at all (RFC 9110 §8.6); an app that gives one is not our concern here.
    headers = [(b"content-length", b"%d" % len(body))] if declared and status != 204 else []
    response = Response(Request(method, b"/", version, [], True, complete=True), status, headers)
    last = len(pieces) - 1
    data = b"".join(
        response.format(piece, DATE, more=number < last, keep_alive=True) for number, piece in enumerate(pieces)
    )
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(data)
    if not response.keep_alive:
        reader.receive_data(b"")
    head, got = reader.next_event(), b""
    while isinstance(event := reader.next_event(), h11.Data):
        got += event.data
    assert head.status_code == status
    assert isinstance(event, h11.EndOfMessage)
    assert got == (b"" if method == "HEAD" or status in (204, 304) else body)
    assert response.ended


def test_a_refusal_is_a_whole_response_that_closes():
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(refusal(431, DATE))
    assert reader.next_event().status_code == 431
    assert isinstance(reader.next_event(), h11.EndOfMessage)
    assert reader.their_state is h11.MUST_CLOSE
