"""One answer out of several: what each gave is in it, and what one did not give is said and hides nothing."""

from __future__ import annotations

from gateway.core import merging
from gateway.core.merging import META, Part
from gateway.core.protocol.aggregate import Names
from gateway.core.protocol.jsonrpc import METHOD_NOT_FOUND, Failure, Notification, Request, Success
from gateway.core.types import Era

NAMES = Names(("a", "b", "c"))
LIST = Request(1, "tools/list")


def tools(*names, **more):
    return Success(1, {"tools": [{"name": name} for name in names], **more})


def merge(request, *parts, era=Era.LEGACY, names=NAMES):
    return merging.merge(request, [Part(*part) for part in parts], names, era, "all")


def test_lists_are_joined_in_the_order_of_the_upstreams_and_each_goes_on_where_it_was():
    merged = merge(LIST, ("a", tools("x", "y", nextCursor="1")), ("b", tools("x")))

    assert [tool["name"] for tool in merged.answer.result["tools"]] == ["a__x", "a__y", "b__x"]
    assert merged.cursors == {"a": "1"}
    assert "_meta" not in merged.answer.result


def test_an_upstream_without_an_answer_is_named_and_the_others_are_listed():
    refused = Failure(1, -32010, "Refused by policy.", {"code": "refused"})
    merged = merge(LIST, ("a", tools("x")), ("b", refused), ("c", None, "timeout"))

    assert [tool["name"] for tool in merged.answer.result["tools"]] == ["a__x"]
    missing = [{"upstream": "b", "code": "refused"}, {"upstream": "c", "code": "timeout"}]
    assert merged.answer.result["_meta"][META] == {"missing": missing}


def test_an_upstream_that_does_not_know_the_method_lacks_nothing():
    merged = merge(LIST, ("a", tools("x")), ("b", Failure(1, METHOD_NOT_FOUND, "no")))
    assert merged.answer.result == {"tools": [{"name": "a__x"}]}


def test_where_nobody_has_a_result_the_most_telling_error_is_the_answer():
    failed = Failure(1, -32011, "Upstream b failed.", {"code": "upstream_closed"})
    assert merge(LIST, ("a", Failure(1, METHOD_NOT_FOUND, "no")), ("b", failed)).answer == failed
    assert isinstance(merge(LIST, ("a", None, "timeout")).answer, Failure)


def test_a_part_that_first_asks_something_is_no_list():
    asks = Success(1, {"resultType": "input_required", "inputRequests": {}})
    merged = merge(LIST, ("a", tools("x", resultType="complete")), ("b", asks), era=Era.MODERN)
    assert merged.answer.result["_meta"][META]["missing"] == [{"upstream": "b", "code": "input_required"}]


def test_a_modern_list_is_as_fresh_as_its_stalest_part_and_nobody_elses():
    merged = merge(
        LIST,
        ("a", tools(ttlMs=5000, cacheScope="public", resultType="complete")),
        ("b", tools(ttlMs=100, cacheScope="public", resultType="complete")),
        era=Era.MODERN,
    )
    told = {key: merged.answer.result[key] for key in ("ttlMs", "cacheScope", "resultType")}
    assert told == {"ttlMs": 100, "cacheScope": "private", "resultType": "complete"}


def test_a_tool_that_nobody_could_call_is_left_out_and_counted():
    merged = merge(LIST, ("a", tools("b__x", "y")), names=Names(("a", "b"), "a"))
    assert [tool["name"] for tool in merged.answer.result["tools"]] == ["y"]
    assert merged.answer.result["_meta"][META] == {"unnamed": {"a": 1}}


def greeted(version, **more):
    return Success(1, {"protocolVersion": version, "serverInfo": {"name": "x", "version": "1"}, **more})


def test_a_greeting_is_the_oldest_version_all_capabilities_and_everybodys_instructions():
    merged = merge(
        Request(1, "initialize"),
        ("a", greeted("2025-11-25", capabilities={"tools": {}}, instructions="Be brief.")),
        ("b", greeted("2025-06-18", capabilities={"prompts": {"listChanged": True}}, instructions="Be kind.")),
    )
    result = merged.answer.result
    assert result["protocolVersion"] == "2025-06-18"
    assert result["capabilities"] == {"tools": {}, "prompts": {"listChanged": True}}
    assert result["instructions"] == "a:\nBe brief.\n\nb:\nBe kind."
    assert result["serverInfo"]["name"] == "all"


def test_the_greeting_of_the_only_upstream_is_its_own():
    alone = greeted("2025-11-25", capabilities={})
    assert merge(Request(1, "initialize"), ("a", alone)).answer == alone


def test_a_discovery_names_the_modern_versions_and_what_is_missing():
    one = Success(1, {"resultType": "complete", "capabilities": {"tools": {}}, "ttlMs": 7})
    merged = merge(Request(1, "server/discover"), ("a", one), ("b", one), ("c", None, "timeout"), era=Era.MODERN)
    assert merged.answer.result["supportedVersions"] == ["2026-07-28"]
    assert merged.answer.result["_meta"][META]["missing"] == [{"upstream": "c", "code": "timeout"}]


def test_what_several_agreed_to_tell_is_said_once():
    one = Notification("x", {"notifications": {"toolsListChanged": True, "resourceSubscriptions": ["a+1"]}})
    other = Notification("x", {"notifications": {"resourceSubscriptions": ["b+1"]}})
    told = merging.acknowledgement([one, other], [])
    assert told.params["notifications"] == {"toolsListChanged": True, "resourceSubscriptions": ["a+1", "b+1"]}
