"""Pages of allowed origins: what they may send and read, and that nobody else's get that far."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core.errors import Unauthenticated
from tests.web.test_endpoint import Answer, serving

PAGE = "https://console.example"
ORIGIN = (b"origin", PAGE.encode())
ASKS = (b"access-control-request-method", b"POST")


def open_to(page):
    endpoint, _ = serving()
    endpoint.desk = replace(
        endpoint.desk,
        origins=frozenset({page}),
        identify=nobody,
        challenge=lambda fault, resource, scopes: (401, 'Bearer resource_metadata="https://gw.example/x"'),
    )
    return endpoint


async def nobody(authorization, **_):
    raise Unauthenticated("no", reason="missing")


async def test_a_page_may_read_the_challenge_that_says_where_to_log_in():
    answer = await Answer(open_to(PAGE), headers=[ORIGIN])()
    assert answer.status == 401
    assert answer.sent[b"access-control-allow-origin"] == PAGE.encode()
    assert b"www-authenticate" in answer.sent[b"access-control-expose-headers"]
    assert b"resource_metadata" in answer.sent[b"www-authenticate"]
    assert answer.sent[b"vary"] == b"origin"
    assert b"access-control-allow-credentials" not in answer.sent


async def test_a_browser_that_asks_first_is_told_what_it_may_send_without_a_token():
    asked = b"authorization,content-type, Mcp-Method,mcp-param-x,x-secret"
    headers = [ORIGIN, ASKS, (b"access-control-request-headers", asked)]
    answer = await Answer(open_to(PAGE), method="OPTIONS", headers=headers)()
    assert answer.status == 204
    assert answer.sent[b"access-control-allow-origin"] == PAGE.encode()
    assert answer.sent[b"access-control-allow-methods"] == b"DELETE, GET, POST"
    assert answer.sent[b"access-control-allow-headers"] == b"authorization, content-type, mcp-method, mcp-param-x"


@pytest.mark.parametrize("page", [b"https://evil.example", b"null", b"https://console.example.evil", b"", b"\xff"])
async def test_a_page_of_another_origin_is_refused_and_reads_nothing(page):
    for method in ("OPTIONS", "POST"):
        answer = await Answer(open_to(PAGE), method=method, headers=[(b"origin", page), ASKS])()
        assert answer.status == 403
        assert not [name for name in answer.sent if name.startswith(b"access-control")]


async def test_an_origin_that_is_given_twice_is_nobodys():
    answer = await Answer(open_to(PAGE), headers=[ORIGIN, ORIGIN])()
    assert answer.status == 400
    assert b"access-control-allow-origin" not in answer.sent


async def test_without_an_origin_nothing_is_said_to_browsers():
    answer = await Answer(open_to(PAGE))()
    assert not [name for name in answer.sent if name.startswith(b"access-control")]
    assert (await Answer(open_to(PAGE), method="OPTIONS", headers=[ASKS])()).status == 401


async def test_headers_that_are_asked_for_cannot_break_out_of_the_answer():
    odd = b"authorization\r\nset-cookie: a=b, *, mcp-\xe9, " + b", ".join(b"mcp-%d" % n for n in range(1000))
    headers = [ORIGIN, ASKS, (b"access-control-request-headers", odd)]
    told = (await Answer(open_to(PAGE), method="OPTIONS", headers=headers)()).sent[b"access-control-allow-headers"]
    assert len(told.split(b", ")) == 64
    assert told.startswith(b"mcp-0, mcp-1")
