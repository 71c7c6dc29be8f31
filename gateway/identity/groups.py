"""Groups, as each provider puts them into its tokens: one claim or several, each a path into nested ones.

A token without the claim has no groups. One whose groups are there but cannot be read is refused: a part of them, or
none, could leave out the very one that a policy denies by. docs/identity/ has each provider's claims.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.core.types import Document, Json
from gateway.identity.reasons import Reason, refused
from gateway.identity.settings import MAX_GROUPS, ClaimPath

MAX_GROUP_CHARACTERS = 256


def read(claims: Document, paths: Iterable[ClaimPath], most: int = MAX_GROUPS) -> tuple[str, ...]:
    """The groups at all of `paths`, each once, in their order. Raises Unauthenticated when some cannot be read."""
    return checked([group for path in paths for group in _at(claims, path)], most)


def checked(found: Iterable[str], most: int = MAX_GROUPS) -> tuple[str, ...]:
    """Each group once. Raises Unauthenticated when there are more than `most`."""
    groups = tuple(dict.fromkeys(found))
    if len(groups) > most:
        raise refused(Reason.GROUPS_UNREADABLE)
    return groups


def texts(value: Json) -> list[str] | None:
    """One text or an array of them; none for null; None when the value is anything else."""
    items = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(item, str) and 0 < len(item) <= MAX_GROUP_CHARACTERS for item in items):
        return None
    return [str(item) for item in items]


def elsewhere(claims: Document, paths: Iterable[ClaimPath]) -> frozenset[str]:
    """Which of the claims with groups the token leaves to be asked for (OpenID Connect Core §5.6.2, distributed ones).

    Entra ID does so with `groups` beyond 200. In tokens that must be short it says no more than `hasgroups`.
    """
    wanted = frozenset(path[0] for path in paths)
    if "groups" in wanted and "groups" not in claims and claims.get("hasgroups", False) is not False:
        return frozenset({"groups"})
    names = claims.get("_claim_names")
    if isinstance(names, dict):
        return wanted & names.keys()
    # Without a list of names a link may be to any of them.
    return wanted if "_claim_names" in claims or "_claim_sources" in claims else frozenset()


def _at(claims: Document, path: ClaimPath) -> list[str]:
    found: Json = claims
    for step in path:
        if not isinstance(found, dict):
            raise refused(Reason.GROUPS_UNREADABLE)
        if found.get(step) is None:
            return []
        found = found[step]
    groups = texts(found)
    if groups is None:
        raise refused(Reason.GROUPS_UNREADABLE)
    return groups
