"""A cursor leaves its page and comes back to its request; what else is in either stays as it is."""

import pytest

from gateway.core.protocol import paging
from gateway.core.protocol.jsonrpc import Failure, Notification, Request, Success

LISTED = {"tools": [{"name": "a"}], "nextCursor": "row 50", "_meta": {"x": 1}}


@pytest.mark.parametrize("method", sorted(paging.PAGED))
def test_a_page_and_its_cursor_come_apart_and_together_again(method):
    page, cursor = paging.apart(Request(1, method), Success(1, LISTED))

    assert page == Success(1, {"tools": [{"name": "a"}], "_meta": {"x": 1}})
    assert cursor == {"cursor": "row 50"}
    assert paging.together(page.result, "sealed") == {**LISTED, "nextCursor": "sealed"}


@pytest.mark.parametrize(
    ("request_", "response"),
    [
        (Request(1, "tools/call"), Success(1, LISTED)),
        (Request(1, "tools/list"), Success(1, {"tools": []})),
        (Request(1, "tools/list"), Success(1, {"nextCursor": 7})),
        (Request(1, "tools/list"), Success(1, {"nextCursor": None})),
        (Request(1, "tools/list"), Success(1, None)),
        (Request(1, "tools/list"), Failure(1, -1, "no")),
        (Notification("tools/list"), Success(1, LISTED)),
    ],
)
def test_what_is_no_page_with_a_cursor_stays_as_it_is(request_, response):
    assert paging.apart(request_, response) == (response, None)


def test_a_page_of_which_masks_left_nothing_gets_no_cursor():
    assert paging.together(None, "sealed") is None


def test_a_request_goes_on_under_the_upstreams_own_cursor_and_is_otherwise_the_same():
    request = Request(1, "tools/list", {"cursor": "sealed", "_meta": {"progressToken": 1}})

    assert paging.brought(request) == "sealed"
    assert paging.resumed(request, {"cursor": "row 50"}).params == {"cursor": "row 50", "_meta": {"progressToken": 1}}
    assert paging.resumed(request, {"id": "row 50"}) is None


@pytest.mark.parametrize(
    "message",
    [
        Request(1, "tools/list"),
        Request(1, "tools/call", {"cursor": "mine"}),
        Notification("tools/list", {"cursor": "x"}),
        Success(1, {"cursor": "x"}),
    ],
)
def test_a_message_that_pages_nothing_brings_no_cursor(message):
    assert paging.brought(message) is None


def test_no_two_principals_upstreams_or_methods_share_a_purpose():
    purposes = {
        paging.purpose(actor, upstream, Request(1, method))
        for actor, upstream in [("a", "bc"), ("ab", "c"), ("b", "bc")]
        for method in paging.PAGED
    }
    assert len(purposes) == 3 * len(paging.PAGED)
