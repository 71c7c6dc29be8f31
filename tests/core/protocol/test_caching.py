"""What leaves the gateway is its principal's alone, unless policy says that it is everybody's."""

import pytest

from gateway.core.protocol.caching import scoped

LISTED = {"tools": [], "ttlMs": 300_000, "cacheScope": "public"}


@pytest.mark.parametrize("said", ["public", "private", "shared", None, 7])
def test_whatever_the_upstream_says_a_result_is_private(said):
    assert scoped({**LISTED, "cacheScope": said}, {}) == {**LISTED, "cacheScope": "private"}


def test_policy_may_say_that_a_result_is_everybodys():
    assert scoped(LISTED, {"cache": "public"}) == LISTED
    assert scoped(LISTED, {"cache": True})["cacheScope"] == "private"
    assert scoped({**LISTED, "cacheScope": "private"}, {"cache": "public"})["cacheScope"] == "private"


@pytest.mark.parametrize("value", [{}, {"ttlMs": 5}, None, [], "cacheScope"])
def test_what_says_nothing_about_caches_stays_as_it_is(value):
    assert scoped(value, {}) == value
