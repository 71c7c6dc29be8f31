"""Listings: which response lists items that policy may hide, and what is left of it when some are hidden."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.core.protocol.jsonrpc import Message, Request, Response, Success
from gateway.core.types import Document, Json

_LISTS = {
    # method: (member that holds the items, member that names one)
    "tools/list": ("tools", "name"),
    "prompts/list": ("prompts", "name"),
    "resources/list": ("resources", "uri"),
    "resources/templates/list": ("resourceTemplates", "uriTemplate"),
}


@dataclass(frozen=True, slots=True)
class Listing:
    """One listing as the upstream gave it. Items without a name are never shown."""

    kind: str
    key: str
    response: Success = field(repr=False)
    items: tuple[Document, ...] = field(repr=False)

    def summaries(self, changed: frozenset[str] = frozenset()) -> list[Json]:
        """What policy is told of each item: its name and annotations, and whether it is not what was accepted."""
        return [
            {
                "name": item[self.key],
                "annotations": item.get("annotations", {}),
                "changed": item[self.key] in changed,
            }
            for item in self.items
        ]

    def only(self, visible: frozenset[str]) -> Success:
        """The response with the items that `visible` names, in the upstream's order."""
        result = self.response.result if isinstance(self.response.result, dict) else {}
        kept: list[Json] = [item for item in self.items if item[self.key] in visible]
        return Success(self.response.id, {**result, self.kind: kept})


def listing(request: Message, response: Response) -> Listing | None:
    """The listing that `response` is, or None when it lists nothing."""
    if not isinstance(request, Request) or request.method not in _LISTS or not isinstance(response, Success):
        return None
    kind, key = _LISTS[request.method]
    found = response.result.get(kind) if isinstance(response.result, dict) else None
    items = found if isinstance(found, list) else []
    named = tuple(item for item in items if isinstance(item, dict) and isinstance(item.get(key), str))
    return Listing(kind, key, response, named)
