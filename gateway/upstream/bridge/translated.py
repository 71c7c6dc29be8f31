"""What the conversations of the bridge have in common."""

from __future__ import annotations

from gateway.core.protocol.jsonrpc import Failure, Notification, Response, Success
from gateway.upstream.base import Conversation, Link

BRIDGED = "(bridged)"
"""Stands in a legacy client's ticket for the session that its modern upstream does not have."""
WITH_TASKS = "(bridged, with tasks)"
"""The same where the client was told that calls may be tasks: what a session's greeting said holds while it lasts."""


def is_bridged(link: Link) -> bool:
    """Whether a legacy client's session is with a modern upstream."""
    return link.upstream_session in (BRIDGED, WITH_TASKS)


class Translated:
    """A `Conversation` whose messages are not the upstream's own."""

    async def together(self, _until: float) -> tuple[Notification, ...]:
        """See `Conversation`. What is translated is looked at one by one."""
        return ()


async def answered(conversation: Conversation) -> Response:
    """What a question of the gateway's own comes to. What is said before that concerns nobody. Raises UpstreamFault."""
    while not isinstance(answer := await conversation.receive(), Success | Failure):
        pass
    return answer
