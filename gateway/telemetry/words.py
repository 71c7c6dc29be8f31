"""The closed sets that labels are of: what a message is, and the reason codes that policy was written with."""

from __future__ import annotations

import re

from gateway.core.call import LISTEN
from gateway.core.policy.bundle import Bundle
from gateway.core.protocol import mcp
from gateway.core.protocol.jsonrpc import Message, Notification, Request

OTHER = "other"
CODES_MOST = 500
"""Reason codes that are told apart."""
_OURS = frozenset({"policy_malformed", "policy_undefined", "policy_input", "policy_slow", "policy_error"})
"""The gateway's own reasons, for when policy gave none that can be used (core/policy/decision.py, pdp/engine.py)."""
_LITERAL = re.compile(r'"([a-z][a-z0-9_.]{0,63})"', re.ASCII)
_CLASSES = {
    "tools/call": "call",
    "resources/read": "read",
    "prompts/get": "read",
    mcp.COMPLETE: "read",
    mcp.INITIALIZE: "greeting",
    mcp.DISCOVER: "greeting",
    "ping": "greeting",
    mcp.LISTEN: "stream",
    "tools/list": "list",
    "prompts/list": "list",
    "resources/list": "list",
    "resources/templates/list": "list",
    "tasks/list": "task",
    "tasks/get": "task",
    "tasks/result": "task",
    "tasks/update": "task",
    "tasks/cancel": "task",
}


def message_class(message: Message) -> str:
    """What a client's message is, in one of ten words."""
    if message is LISTEN:
        return "stream"
    if isinstance(message, Request):
        return _CLASSES.get(message.method, OTHER)
    return "notification" if isinstance(message, Notification) else "answer"


class Codes:
    """The reason codes that may be labels: the gateway's own, and those that stand in the text of the policy in force.

    A code that policy computes, maybe from what it was asked, is in no text and becomes `other`.
    """

    def __init__(self) -> None:
        self._known = _OURS
        self._told: set[str] = set()

    def learn(self, bundle: Bundle) -> None:
        """This policy is in force now."""
        texts = (source.text for source in bundle.sources if not source.is_test)
        self._known = _OURS.union(*(_LITERAL.findall(text) for text in texts))

    def word(self, code: str) -> str:
        """The code, or OTHER."""
        if code in self._told:
            return code
        if code not in self._known or len(self._told) >= CODES_MOST:
            return OTHER
        self._told.add(code)
        return code
