"""Which version and era a message is in, and what a client is told when headers and body do not agree."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import ClientFault
from gateway.core.protocol import mcp, versions
from gateway.core.protocol.jsonrpc import Failure, Notification, Request, Success
from gateway.core.types import Era

MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}


def headers(**named):
    return [(key.replace("_", "-").encode(), value.encode("latin-1")) for key, value in named.items()]


def modern(method="tools/call", **params):
    return Request(1, method, {"name": "query", "_meta": META, **params})


AGREED = headers(mcp_protocol_version=MODERN, mcp_method="tools/call", mcp_name="query")

IDENTIFIED = {
    "initialize": ([], Request(1, "initialize", {"protocolVersion": "2025-06-18"}), (Era.LEGACY, "2025-06-18")),
    "initialize with a version of the future": (
        [],
        Request(1, "initialize", {"protocolVersion": "2031-01-01"}),
        (Era.LEGACY, "2025-11-25"),
    ),
    "initialize that offers the modern version": (
        [],
        Request(1, "initialize", {"protocolVersion": MODERN}),
        (Era.LEGACY, "2025-11-25"),
    ),
    "initialize without a version": ([], Request(1, "initialize"), (Era.LEGACY, "2025-11-25")),
    "initialize with a header already": (
        headers(mcp_protocol_version=MODERN),
        Request(1, "initialize", {"protocolVersion": "2025-11-25"}),
        (Era.LEGACY, "2025-11-25"),
    ),
    "no version anywhere": ([], Request(1, "tools/list"), (Era.LEGACY, "2025-03-26")),
    "legacy header": (
        headers(mcp_protocol_version="2025-11-25"),
        Request(1, "tools/list"),
        (Era.LEGACY, "2025-11-25"),
    ),
    "a version that a stdio upstream chose": (
        headers(mcp_protocol_version="2024-11-05"),
        Request(1, "tools/list"),
        (Era.LEGACY, "2024-11-05"),
    ),
    "legacy response": (headers(mcp_protocol_version="2025-06-18"), Success("a", {}), (Era.LEGACY, "2025-06-18")),
    "modern call": (AGREED, modern(), (Era.MODERN, MODERN)),
    "modern call with its name in Base64": (
        headers(mcp_protocol_version=MODERN, mcp_method="tools/call", mcp_name="=?base64?w6lwZWwgYQ==?="),
        modern(name="épel a"),
        (Era.MODERN, MODERN),
    ),
    "modern call without a name": (
        headers(mcp_protocol_version=MODERN, mcp_method="tools/call"),
        Request(1, "tools/call", {"_meta": META}),
        (Era.MODERN, MODERN),
    ),
    "modern read": (
        headers(mcp_protocol_version=MODERN, mcp_method="resources/read", mcp_name="file:///a"),
        Request(1, "resources/read", {"uri": "file:///a", "_meta": META}),
        (Era.MODERN, MODERN),
    ),
    "modern list": (
        headers(mcp_protocol_version=MODERN, mcp_method="tools/list"),
        Request(1, "tools/list", {"_meta": META}),
        (Era.MODERN, MODERN),
    ),
    "modern notification": (
        headers(mcp_protocol_version=MODERN),
        Notification("notifications/cancelled", {"requestId": 1}),
        (Era.MODERN, MODERN),
    ),
}


@pytest.mark.parametrize(("sent", "message", "found"), IDENTIFIED.values(), ids=IDENTIFIED.keys())
def test_a_message_is_in_the_version_that_header_and_body_agree_on(sent, message, found):
    assert versions.identify(sent, message) == found


REFUSED = {
    "no version header": (
        headers(mcp_method="tools/call", mcp_name="query"),
        modern(),
        -32020,
        "Version header",
    ),
    "another version in the header": (
        headers(mcp_protocol_version="2025-11-25", mcp_method="tools/call", mcp_name="query"),
        modern(),
        -32020,
        "another version",
    ),
    "two version headers": (
        AGREED + headers(mcp_protocol_version="2025-11-25"),
        modern(),
        -32020,
        "more than one value",
    ),
    "no method header": (headers(mcp_protocol_version=MODERN, mcp_name="query"), modern(), -32020, "Mcp-Method"),
    "another method in the header": (
        headers(mcp_protocol_version=MODERN, mcp_method="tools/list", mcp_name="query"),
        modern(),
        -32020,
        "another method",
    ),
    "another case of the method": (
        headers(mcp_protocol_version=MODERN, mcp_method="Tools/Call", mcp_name="query"),
        modern(),
        -32020,
        "another method",
    ),
    "a method header that fools an ingress in front of a legacy call": (
        headers(mcp_protocol_version="2025-11-25", mcp_method="tools/list"),
        Request(1, "tools/call", {"name": "query"}),
        -32020,
        "another method",
    ),
    "no name header": (headers(mcp_protocol_version=MODERN, mcp_method="tools/call"), modern(), -32020, "Mcp-Name"),
    "another name in the header": (
        headers(mcp_protocol_version=MODERN, mcp_method="tools/call", mcp_name="harmless"),
        modern(),
        -32020,
        "another name",
    ),
    "a name header and no name": (
        AGREED,
        Request(1, "tools/call", {"_meta": META}),
        -32020,
        "another name",
    ),
    "broken Base64 in the name": (
        headers(mcp_protocol_version=MODERN, mcp_method="tools/call", mcp_name="=?base64?!?="),
        modern(),
        -32020,
        "another name",
    ),
    "no meta": (AGREED, Request(1, "tools/call", {"name": "query"}), -32602, "lacks"),
    "no capabilities": (
        AGREED,
        modern(_meta={"io.modelcontextprotocol/protocolVersion": MODERN}),
        -32602,
        "clientCapabilities",
    ),
    "version that is no string": (
        AGREED,
        modern(_meta={**META, "io.modelcontextprotocol/protocolVersion": 3}),
        -32602,
        "not a string",
    ),
    "response": (headers(mcp_protocol_version=MODERN), Success(1, {}), -32600, "no responses"),
}


@pytest.mark.parametrize(("sent", "message", "code", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_a_message_whose_header_and_body_do_not_agree_is_refused_with_400(sent, message, code, why):
    with pytest.raises(ClientFault, match=why) as refused:
        versions.identify(sent, message)

    assert (refused.value.code, refused.value.status) == (code, 400)


@pytest.mark.parametrize("version", ["1900-01-01", "2027-01-01", "", "2025-11-25"])
def test_a_modern_request_in_a_version_that_is_not_spoken_is_told_which_are(version):
    request = modern(_meta={**META, "io.modelcontextprotocol/protocolVersion": version})
    sent = headers(mcp_protocol_version=version, mcp_method="tools/call", mcp_name="query")

    with pytest.raises(ClientFault) as refused:
        versions.identify(sent, request)

    assert (refused.value.code, refused.value.status) == (-32022, 400)
    assert refused.value.data == {"supported": list(versions.MODERN), "requested": version}


@pytest.mark.parametrize("method", sorted(mcp.LEGACY_ONLY))
def test_a_modern_request_for_what_the_revision_removed_is_not_found(method):
    request = Request(1, method, {"_meta": META})

    with pytest.raises(ClientFault, match=method) as refused:
        versions.identify(headers(mcp_protocol_version="2026-07-28", mcp_method=method), request)

    assert (refused.value.code, refused.value.status) == (-32601, 404)


@pytest.mark.parametrize("method", ["tools/call", "resources/read", "initialize", "sampling/createMessage"])
def test_a_request_that_hides_its_id_is_refused(method):
    with pytest.raises(ClientFault, match="with an id") as refused:
        versions.identify([], Notification(method, {"name": "run_sql", "arguments": {"sql": "DROP TABLE patients"}}))

    assert (refused.value.code, refused.value.status) == (-32600, 400)


def test_a_notification_that_wants_an_answer_is_refused():
    with pytest.raises(ClientFault, match="without an id"):
        versions.identify([], Request(1, "notifications/cancelled", {"requestId": 1}))


def test_a_legacy_message_in_an_unknown_version_is_refused_with_400():
    with pytest.raises(ClientFault) as refused:
        versions.identify(headers(mcp_protocol_version="latest"), Notification("notifications/initialized"))

    assert (refused.value.code, refused.value.status) == (-32022, 400)


def test_the_versions_are_those_that_the_official_sdk_knows():
    from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, KNOWN_PROTOCOL_VERSIONS

    assert tuple(versions.VERSIONS) == KNOWN_PROTOCOL_VERSIONS
    legacy = tuple(name for name, version in versions.VERSIONS.items() if version.era is Era.LEGACY)
    assert legacy == HANDSHAKE_PROTOCOL_VERSIONS
    assert "2024-11-05" not in versions.SUPPORTED


STATUS = [
    (Success(1, {}), 200, 200),
    (Failure(1, -32601, ""), 404, 200),
    (Failure(1, -32602, ""), 400, 200),
    (Failure(1, -32603, ""), 200, 200),
    (Failure(1, -32020, ""), 400, 200),
    (Failure(1, -32021, ""), 400, 200),
    (Failure(1, -32022, ""), 400, 200),
    (Failure(1, -32010, ""), 200, 200),
    (Failure(None, -32700, ""), 400, 400),
    (Failure(None, -32010, ""), 400, 400),
]


@pytest.mark.parametrize(("response", "modern_status", "legacy_status"), STATUS)
def test_an_error_travels_under_the_status_of_its_era(response, modern_status, legacy_status):
    assert versions.http_status(Era.MODERN, response) == modern_status
    assert versions.http_status(Era.LEGACY, response) == legacy_status


def test_a_result_of_our_own_is_marked_complete_in_the_modern_era_only():
    assert versions.complete(Era.MODERN, {"content": []}) == {"resultType": "complete", "content": []}
    assert versions.complete(Era.LEGACY, {"content": []}) == {"content": []}


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_travels_in_a_header_and_comes_out_unchanged(value):
    encoded = versions.encode_header(value)

    assert versions.decode_header(encoded) == value
    assert encoded.isascii()
    assert encoded == encoded.strip()
    assert encoded.isprintable()


# MCP 2026-07-28, Value Encoding: the examples.
SPECIFIED = [
    ("us-west1", "us-west1"),
    ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
    (" padded ", "=?base64?IHBhZGRlZCA=?="),
    ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
    ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
]


@pytest.mark.parametrize(("value", "encoded"), SPECIFIED)
def test_header_values_are_encoded_as_the_specification_shows(value, encoded):
    assert versions.encode_header(value) == encoded


@pytest.mark.parametrize(
    "broken", ["=?base64?a?=", "=?base64?YWJj\n?=", "=?base64?/w==?=", "=?base64?YR==?=", "é", "a\x07"]
)
def test_a_header_value_that_is_not_in_its_one_form_is_nothing(broken):
    assert versions.decode_header(broken) is None
