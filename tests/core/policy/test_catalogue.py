import pytest

from gateway.core.policy import catalogue
from gateway.core.protocol.jsonrpc import Failure, Notification, Request, Success

TOOLS = [
    {"name": "read", "annotations": {"readOnlyHint": True}, "description": "Reads."},
    {"name": "write"},
    {"description": "nameless"},
    {"name": 5},
    "no object",
]


def listed(method="tools/list", result=None):
    return catalogue.listing(Request(1, method, {}), Success(1, {"tools": TOOLS} if result is None else result))


def test_policy_is_told_names_and_annotations_and_what_changed_of_whatever_has_a_name():
    assert listed().kind == "tools"
    assert listed().summaries(frozenset({"write"})) == [
        {"name": "read", "annotations": {"readOnlyHint": True}, "changed": False},
        {"name": "write", "annotations": {}, "changed": True},
    ]


def test_only_what_is_visible_is_left_and_the_rest_of_the_result_stays():
    listing = listed(result={"tools": TOOLS, "nextCursor": "c"})

    assert listing.only(frozenset({"write", "other"})) == Success(1, {"tools": [{"name": "write"}], "nextCursor": "c"})


def test_what_has_no_name_is_never_shown():
    assert listed().only(frozenset({"read", "write", "", "5"})).result == {"tools": TOOLS[:2]}


@pytest.mark.parametrize(
    ("method", "kind", "item"),
    [
        ("prompts/list", "prompts", {"name": "a"}),
        ("resources/list", "resources", {"uri": "a"}),
        ("resources/templates/list", "resourceTemplates", {"uriTemplate": "a"}),
    ],
)
def test_each_kind_of_listing_names_its_items_its_own_way(method, kind, item):
    listing = listed(method, {kind: [item]})

    assert (listing.kind, listing.summaries()) == (kind, [{"name": "a", "annotations": {}, "changed": False}])


@pytest.mark.parametrize("result", [{}, {"tools": None}, {"tools": "x"}, [], None, "x"])
def test_a_listing_that_is_none_shows_nothing(result):
    listing = catalogue.listing(Request(1, "tools/list", {}), Success(1, result))

    assert listing.items == ()
    assert listing.only(frozenset({"read"})).result["tools"] == []


@pytest.mark.parametrize(
    ("request_", "response"),
    [
        (Request(1, "tools/call", {}), Success(1, {"tools": TOOLS})),
        (Request(1, "tools/list", {}), Failure(1, -1, "no")),
        (Notification("tools/list", {}), Success(1, {"tools": TOOLS})),
    ],
)
def test_what_lists_nothing_is_no_listing(request_, response):
    assert catalogue.listing(request_, response) is None
