"""Groups, as each provider puts them into its tokens: one claim, or a path into nested ones.

Okta and most others: `groups`. Keycloak: `realm_access.roles`. Entra ID: `groups` (ids) or `roles`; with more than 200
groups it sends only a link (`_claim_names`), which is no groups here. What is not plainly groups is no groups, and too
many are none at all: a part of somebody's groups could leave out the one that a policy denies by.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.core.types import Document, Json

MAX_GROUPS = 512
MAX_GROUP_CHARACTERS = 256


def extract(claims: Document, path: Sequence[str]) -> tuple[str, ...]:
    """The groups at `path`, each once, in the token's order. Total: anything else than texts there is no groups."""
    found: Json = claims
    for step in path:
        if not isinstance(found, dict) or step not in found:
            return ()
        found = found[step]
    items = [found] if isinstance(found, str) else found
    if not isinstance(items, list) or len(items) > MAX_GROUPS:
        return ()
    if not all(isinstance(item, str) and 0 < len(item) <= MAX_GROUP_CHARACTERS for item in items):
        return ()
    return tuple(dict.fromkeys(str(item) for item in items))
