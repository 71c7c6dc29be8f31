"""What the conversations of the bridge have in common."""

from __future__ import annotations

from gateway.core.protocol.jsonrpc import Notification


class Translated:
    """A `Conversation` whose messages are not the upstream's own."""

    async def together(self, _until: float) -> tuple[Notification, ...]:
        """See `Conversation`. What is translated is looked at one by one."""
        return ()
