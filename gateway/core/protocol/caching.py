"""Who may be given a result again (MCP 2026-07-28, Caching).

An upstream says `public` of what is the same for each of *its* callers, and the gateway is one caller. What leaves the
gateway depends on the principal: listings are filtered, results masked, and either may be refused to the next. A cache
between the gateway and its clients must not hand one principal's to another.
"""

from __future__ import annotations

from gateway.core.types import Document, Json

SCOPE, PUBLIC, PRIVATE = "cacheScope", "public", "private"
LABEL = "cache"
"""The label by which policy says `public` of a result that is the same for everybody who may have it."""


def scoped(value: Json, labels: Document) -> Json:
    """A result for the cache of its own principal alone, unless policy labels it otherwise."""
    if not isinstance(value, dict) or SCOPE not in value or labels.get(LABEL) == PUBLIC:
        return value
    return {**value, SCOPE: PRIVATE}
