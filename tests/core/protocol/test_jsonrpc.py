"""What a client may send, what it is told otherwise, and that nothing changes on the way through."""

import hashlib
import json
from dataclasses import replace

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.errors import ClientFault, InternalFault, UpstreamFault
from gateway.core.protocol import jsonrpc
from gateway.core.protocol.jsonrpc import Failure, Limits, Notification, Request, Success

LIMITS = Limits(max_bytes=8192, max_depth=8)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
integers = st.integers(-(2**63), 2**64 - 1)
scalars = st.none() | st.booleans() | integers | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
).filter(lambda value: depth(value) <= 6)
documents = st.dictionaries(texts, values, max_size=4)
ids = texts | integers
methods = texts.filter(bool)
messages = st.one_of(
    st.builds(Request, ids, methods, documents),
    st.builds(Notification, methods, documents),
    st.builds(Success, ids, documents),
    st.builds(Failure, st.none() | ids, st.integers(-(2**31), 2**31), texts, values),
)


def depth(value):
    match value:
        case dict():
            return 1 + max(map(depth, value.values()), default=0)
        case list():
            return 1 + max(map(depth, value), default=0)
        case _:
            return 0


GOOD = [
    (b'{"jsonrpc":"2.0","id":1,"method":"ping"}', Request(1, "ping")),
    (b'{"jsonrpc":"2.0","id":"a","method":"ping","params":{}}', Request("a", "ping")),
    (b' {"id" : 0, "jsonrpc": "2.0",\n"method":"ping"} ', Request(0, "ping")),
    (b'{"jsonrpc":"2.0","id":"","method":"ping"}', Request("", "ping")),
    (b'{"jsonrpc":"2.0","id":-9007199254740993,"method":"ping"}', Request(-9007199254740993, "ping")),
    (b'{"jsonrpc":"2.0","method":"notifications/initialized"}', Notification("notifications/initialized")),
    (b'{"jsonrpc":"2.0","id":1,"result":{}}', Success(1, {})),
    (b'{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no"}}', Failure(1, -1, "no")),
    (b'{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":"no","data":[1]}}', Failure(None, -1, "no", [1])),
    (b'{"jsonrpc":"2.0","error":{"code":-1,"message":"no"}}', Failure(None, -1, "no")),
    (b'{"jsonrpc":"2.0","method":"m","params":{"a":"\\ud83d\\ude00"}}', Notification("m", {"a": "\U0001f600"})),
    (b'{"jsonrpc":"2.0","method":"m","params":{"a":18446744073709551615}}', Notification("m", {"a": 2**64 - 1})),
]


@pytest.mark.parametrize(("data", "message"), GOOD)
def test_a_message_is_read_as_what_it_says(data, message):
    assert jsonrpc.parse(data, LIMITS) == message
    assert jsonrpc.parse_upstream(data, LIMITS) == message


def nested(levels):
    return b'{"jsonrpc":"2.0","method":"m","params":' + b'{"a":' * (levels - 2) + b"{}" + b"}" * (levels - 2) + b"}"


def call(members):
    return b'{"jsonrpc":"2.0",' + members + b"}"


ODD = {
    "nothing": (b"", -32700, "not JSON"),
    "white space": (b"  \n", -32700, "not JSON"),
    "half a message": (b'{"jsonrpc":"2.0","id":1,', -32700, "not JSON"),
    "two messages": (call(b'"method":"m"') * 2, -32700, "not JSON"),
    "a comment": (b'{"jsonrpc":"2.0" /* hello */}', -32700, "not JSON"),
    "single quotes": (b"{'jsonrpc':'2.0'}", -32700, "not JSON"),
    "NaN": (call(b'"method":"m","params":{"a":NaN}'), -32700, "not JSON"),
    "Infinity": (call(b'"method":"m","params":{"a":-Infinity}'), -32700, "not JSON"),
    "leading zero": (call(b'"method":"m","params":{"a":01}'), -32700, "not JSON"),
    "control character": (call(b'"method":"m\x01"'), -32700, "not JSON"),
    "byte order mark": (b"\xef\xbb\xbf" + call(b'"method":"m"'), -32700, "byte order mark"),
    "UTF-16": (call(b'"method":"m"').decode().encode("utf-16"), -32700, "UTF-8|not JSON"),
    "Latin-1": (call(b'"method":"caf\xe9"'), -32700, "UTF-8"),
    "overlong UTF-8": (call(b'"method":"\xc0\xaf"'), -32700, "UTF-8"),
    "encoded surrogate": (call(b'"method":"\xed\xa0\x80"'), -32700, "UTF-8"),
    "lone high surrogate": (call(b'"method":"\\ud800"'), -32700, "surrogate"),
    "lone low surrogate": (call(b'"method":"\\udc00x"'), -32700, "surrogate"),
    "batch": (b"[" + call(b'"id":1,"method":"ping"') + b"]", -32600, "batches"),
    "empty batch": (b"[]", -32600, "batches"),
    "string": (b'"ping"', -32600, "not a JSON object"),
    "null": (b"null", -32600, "not a JSON object"),
    "number": (b"1", -32600, "not a JSON object"),
    "too deep": (nested(9), -32600, "deeper than 8"),
    "far too deep": (nested(1100), -32600, "nested"),
    "duplicate key": (call(b'"method":"ping","method":"tools/call","id":1'), -32600, "same key twice"),
    "duplicate key, spelled twice": (call(b'"method":"m","params":{"a":1,"\\u0061":2}'), -32600, "same key twice"),
    "duplicate key, deep": (call(b'"method":"m","params":{"b":[{"a":1,"a":1}]}'), -32600, "same key twice"),
    "integer of 65 bits": (call(b'"method":"m","params":{"a":18446744073709551616}'), -32600, "64 bits"),
    "negative of 65 bits": (call(b'"method":"m","params":{"a":-9223372036854775809}'), -32600, "64 bits"),
    "integer of 5000 digits": (call(b'"method":"m","params":{"a":' + b"7" * 5000 + b"}"), -32600, "too large"),
    "number beyond double": (call(b'"method":"m","params":{"a":1e400}'), -32600, "too large"),
    "no version": (b'{"id":1,"method":"ping"}', -32600, '"jsonrpc": "2.0"'),
    "version 1.0": (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600, '"jsonrpc": "2.0"'),
    "version as number": (b'{"jsonrpc":2.0,"id":1,"method":"ping"}', -32600, '"jsonrpc": "2.0"'),
    "id null": (call(b'"id":null,"method":"ping"'), -32600, "id is not"),
    "id true": (call(b'"id":true,"method":"ping"'), -32600, "id is not"),
    "id 1.5": (call(b'"id":1.5,"method":"ping"'), -32600, "id is not"),
    "id 1.0": (call(b'"id":1.0,"method":"ping"'), -32600, "id is not"),
    "id list": (call(b'"id":[1],"method":"ping"'), -32600, "id is not"),
    "id object": (call(b'"id":{},"method":"ping"'), -32600, "id is not"),
    "result without id": (call(b'"result":{}'), -32600, "id is not"),
    "result with id null": (call(b'"id":null,"result":{}'), -32600, "id is not"),
    "method null": (call(b'"id":1,"method":null'), -32600, "method is not"),
    "method empty": (call(b'"id":1,"method":""'), -32600, "method is not"),
    "method number": (call(b'"id":1,"method":3'), -32600, "method is not"),
    "params null": (call(b'"id":1,"method":"ping","params":null'), -32600, "params are not"),
    "params list": (call(b'"id":1,"method":"ping","params":[]'), -32600, "params are not"),
    "params without method": (call(b'"id":1,"params":{}'), -32600, "no method"),
    "request and result": (call(b'"id":1,"method":"ping","result":{}'), -32600, "both a request"),
    "request and error": (call(b'"id":1,"method":"m","error":{"code":1,"message":""}'), -32600, "both a request"),
    "result and error": (call(b'"id":1,"result":{},"error":{"code":1,"message":""}'), -32600, "both a result"),
    "neither": (call(b'"id":1'), -32600, "neither"),
    "result null": (call(b'"id":1,"result":null'), -32600, "result is not"),
    "result list": (call(b'"id":1,"result":[]'), -32600, "result is not"),
    "error string": (call(b'"id":1,"error":"no"'), -32600, "error has no"),
    "error null": (call(b'"id":1,"error":null'), -32600, "error has no"),
    "error code true": (call(b'"id":1,"error":{"code":true,"message":""}'), -32600, "error has no"),
    "error code 1.0": (call(b'"id":1,"error":{"code":1.0,"message":""}'), -32600, "error has no"),
    "error without message": (call(b'"id":1,"error":{"code":1}'), -32600, "error has no"),
}


@pytest.mark.parametrize(("data", "code", "why"), ODD.values(), ids=ODD.keys())
def test_what_is_not_one_plain_message_is_refused_with_its_code_and_400(data, code, why):
    with pytest.raises(ClientFault, match=why) as refused:
        jsonrpc.parse(data, LIMITS)

    assert (refused.value.code, refused.value.status) == (code, 400)


@pytest.mark.parametrize("data", [data for data, _, _ in ODD.values()], ids=ODD.keys())
def test_an_upstream_may_send_no_such_thing_either(data):
    with pytest.raises(UpstreamFault) as refused:
        jsonrpc.parse_upstream(data, LIMITS)

    assert refused.value.kind == "malformed"


def test_a_message_of_too_many_bytes_is_refused_with_413_before_it_is_read():
    with pytest.raises(ClientFault, match="8192 bytes") as refused:
        jsonrpc.parse(b"x" * 8193, LIMITS)

    assert (refused.value.code, refused.value.status) == (-32600, 413)
    with pytest.raises(UpstreamFault) as refused:
        jsonrpc.parse_upstream(b"x" * 8193, LIMITS)
    assert refused.value.kind == "oversize"


def test_a_message_of_just_the_size_and_depth_that_are_allowed_is_read():
    filler = call(b'"method":"m","params":{"a":""}')
    data = filler.replace(b'""', b'"' + b"x" * (8192 - len(filler)) + b'"')

    assert len(data) == 8192
    assert isinstance(jsonrpc.parse(data, LIMITS), Notification)
    assert isinstance(jsonrpc.parse(nested(8), LIMITS), Notification)
    wide = call(b'"method":"m","params":{"a":[' + b",".join([b"[]"] * 50) + b"]}")
    assert isinstance(jsonrpc.parse(wide, LIMITS), Notification)


def test_members_that_json_rpc_does_not_define_are_refused_from_a_client_and_dropped_from_an_upstream():
    data = call(b'"id":1,"result":{},"session":"s"')

    with pytest.raises(ClientFault, match="does not define"):
        jsonrpc.parse(data, LIMITS)
    assert jsonrpc.parse_upstream(data, LIMITS) == Success(1, {})


def test_no_refusal_repeats_what_was_sent():
    secret = b"Synthia Testpatient"
    carriers = [
        secret,
        b'{"' + secret + b'":',
        call(b'"method":"m","params":{"' + secret + b'":1,"' + secret + b'":2}'),
        call(b'"id":1,"error":"' + secret + b'"'),
        call(b'"id":{"a":"' + secret + b'"},"method":"m"'),
    ]
    for data in carriers:
        with pytest.raises(ClientFault) as refused:
            jsonrpc.parse(data, LIMITS)
        seen, error = "", refused.value
        while error is not None:
            seen += f"{error!r} {error} {vars(error)}"
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        assert "Synthia" not in seen


def test_limits_that_could_not_be_kept_are_refused():
    with pytest.raises(ValueError, match="max_depth"):
        Limits(max_depth=129)
    with pytest.raises(ValueError, match="max_bytes"):
        Limits(max_bytes=0)


def test_a_message_of_the_deepest_kind_can_be_written_again():
    deepest = Limits(max_depth=jsonrpc.DEPTH_CEILING)

    message = jsonrpc.parse(nested(jsonrpc.DEPTH_CEILING), deepest)

    assert jsonrpc.parse(jsonrpc.format(message), deepest) == message


@given(messages)
def test_parse_undoes_format(message):
    assert jsonrpc.parse(jsonrpc.format(message), Limits()) == message


@given(messages)
def test_a_message_means_the_same_however_its_json_is_written(message):
    loose = json.dumps(orjson.loads(jsonrpc.format(message)), indent=1).encode()

    assert jsonrpc.parse(loose, Limits(max_bytes=10**6)) == message
    assert jsonrpc.parse_upstream(loose) == message


spaces = st.text(" \t\r\n", max_size=2)
keys = st.sampled_from(["a", "b", '":', "c:"])
numbers = st.sampled_from([0, -1, 1.5, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 1e19, -1e300])


@st.composite
def written(draw, level=3):
    """JSON text as anybody may write it, and whether two readers could understand it differently."""
    kind = draw(st.integers(0, 3 if level else 1))
    if kind == 0:
        number = draw(numbers)
        return json.dumps(number), isinstance(number, int) and not -(2**63) <= number < 2**64
    if kind == 1:
        return json.dumps(draw(keys | st.just('\\":,"a":'))), False
    items = draw(st.lists(written(level=level - 1), max_size=3))
    odd = any(each for _, each in items)
    texts = [draw(spaces) + text + draw(spaces) for text, _ in items]
    if kind == 2:
        return f"[{draw(spaces)}{','.join(texts)}]", odd
    names = [draw(keys) for _ in items]
    spelled = [draw(st.sampled_from([json.dumps(name), json.dumps(name).replace("a", "\\u0061")])) for name in names]
    members = [f"{draw(spaces)}{name}{draw(spaces)}:{text}" for name, text in zip(spelled, texts, strict=True)]
    return f"{{{draw(spaces)}{','.join(members)}}}", odd or len(set(names)) < len(names)


@settings(max_examples=400)
@given(written())
def test_what_two_readers_could_understand_differently_is_refused_however_it_is_written(drawn):
    text, odd = drawn
    data = b'{"jsonrpc": "2.0", "method": "m", "params": {"a": ' + text.encode() + b"}}"

    came = read(jsonrpc.parse, data)

    if odd:
        assert isinstance(came, ClientFault)
        assert "same key twice" in came.detail or "64 bits" in came.detail
    else:
        assert came == Notification("m", {"a": json.loads(text)})


@given(messages)
def test_formatting_is_stable_and_the_digest_is_of_the_formatted_bytes(message):
    data = jsonrpc.format(message)

    assert jsonrpc.format(jsonrpc.parse(data, Limits())) == data
    assert jsonrpc.digest(message) == hashlib.sha256(data).hexdigest()
    assert b"\n" not in data


def read(parse, data):
    """What comes of reading `data`: a message, or the fault that was raised; any other exception fails the test."""
    try:
        return parse(data, LIMITS)
    except (ClientFault, UpstreamFault) as fault:
        return fault


def check_total(data):
    from_client, from_upstream = read(jsonrpc.parse, data), read(jsonrpc.parse_upstream, data)
    if isinstance(from_client, ClientFault):
        assert (from_client.code, from_client.status) in [(-32700, 400), (-32600, 400)]
    else:
        assert from_upstream == from_client
    if isinstance(from_upstream, UpstreamFault):
        assert from_upstream.kind == "malformed"
    else:
        assert jsonrpc.parse_upstream(jsonrpc.format(from_upstream)) == from_upstream


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_bytes_are_a_message_or_a_fault_and_nothing_else(data):
    check_total(data)


@given(messages, st.data())
def test_a_mutated_message_is_a_message_or_a_fault_and_nothing_else(message, data):
    raw = bytearray(jsonrpc.format(message))
    piece = st.binary(max_size=2) | st.sampled_from([b'"', b"{", b"]", b"1e999", b"\\ud800"])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(len(raw) - 1, 0)))
        raw[at : at + data.draw(st.integers(0, 2))] = data.draw(piece)
    check_total(bytes(raw))


@given(messages)
def test_a_message_around_its_own_body_is_itself(message):
    expected = message
    if isinstance(message, Failure) and not -32768 <= message.code <= 32767:
        expected = replace(message, code=jsonrpc.INTERNAL_ERROR)
    assert jsonrpc.with_body(message, jsonrpc.body(message)) == expected


@given(messages, values)
def test_any_value_can_take_the_place_of_a_body_and_still_make_a_message(message, value):
    masked = jsonrpc.with_body(message, value)

    assert type(masked) is type(message)
    assert jsonrpc.format(masked)


@pytest.mark.parametrize(
    ("code", "told"),
    [(917365284, -32603), (-917365284, -32603), (32768, -32603), (-32769, -32603), (32767, 32767), (-32768, -32768),
     (-32042, -32042), (0, 0), (404, 404)],
)  # fmt: skip
def test_an_ssn_as_an_errors_code_does_not_reach_the_client(code, told):
    failure = Failure(3, code, "no")

    assert jsonrpc.with_body(failure, jsonrpc.body(failure)) == Failure(3, told, "no")


def test_an_error_whose_message_was_masked_away_stays_an_error_without_it():
    failure = Failure(3, -5, "patient not found", {"mrn": "0001"})

    assert jsonrpc.with_body(failure, {"code": -5, "message": None}) == Failure(3, -5, "")
    assert jsonrpc.with_body(failure, None) == Failure(3, jsonrpc.INTERNAL_ERROR, "")


@given(st.builds(Success, ids, documents) | st.builds(Failure, ids, st.integers(-99, 99), texts, values), ids)
def test_a_recorded_response_is_given_again_under_another_id(response, ident):
    recorded = orjson.loads(jsonrpc.format(response))

    assert jsonrpc.readdress(recorded, ident) == replace(response, id=ident)


@pytest.mark.parametrize(
    "kept", [None, [], {}, {"jsonrpc": "2.0", "method": "m"}, {"jsonrpc": "2.0", "id": 1, "result": 3}]
)
def test_only_a_response_can_have_been_kept(kept):
    with pytest.raises(InternalFault):
        jsonrpc.readdress(kept, 1)


def test_what_may_hold_phi_is_in_no_repr():
    for message in (
        Request(1, "m", {"name": "Synthia"}),
        Notification("m", {"name": "Synthia"}),
        Success(1, {"name": "Synthia"}),
        Failure(1, 2, "Synthia", ["Synthia"]),
    ):
        assert "Synthia" not in repr(message)
