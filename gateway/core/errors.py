"""The whole error tree on one page, sorted by whose fault it is.

A refusal is not here: it is a value that the exchange returns. No error text carries PHI, a token or a message body;
`detail` is written by us for the person who reads it.
"""

from __future__ import annotations

from gateway.core.types import Json


class GatewayError(Exception):
    """Base of everything the gateway raises on purpose."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class ClientFault(GatewayError):
    """The client sent what MCP does not allow. `code` is the JSON-RPC error code, `status` the HTTP status.

    `data` is the error's JSON-RPC `data`, where MCP defines one; it is for the client alone and never part of the text.
    """

    def __init__(self, detail: str, *, code: int, status: int = 400, data: Json = None) -> None:
        super().__init__(detail)
        self.code = code
        self.status = status
        self.data = data


class ClientGone(GatewayError):
    """The client hung up, cancelled, or the gateway is draining: nobody is left to answer."""


class Unauthenticated(GatewayError):
    """No principal: the token is missing, expired, forged or not for us. `reason` is a closed word for evidence."""

    def __init__(self, detail: str, *, reason: str) -> None:
        super().__init__(detail)
        self.reason = reason


class GrantRefused(GatewayError):
    """No token is issued for what a client presented. `code` is the OAuth error (RFC 6749 §5.2)."""

    def __init__(self, detail: str, *, code: str) -> None:
        super().__init__(detail)
        self.code = code


class SessionEnded(GatewayError):
    """The legacy session that the client names has ended, or never was: 404, and the client may begin another."""


class IdentityUnavailable(GatewayError):
    """The identity provider cannot be asked and what is cached has expired: refuse with 503, never guess."""


class UpstreamFault(GatewayError):
    """The upstream broke its side. `kind` is one of a closed set, for evidence and metrics.

    `unreachable` no connection · `credentials_unavailable` the gateway has none to show it, so nothing was sent ·
    `timeout` a deadline passed · `closed` ended before its result · `malformed` not MCP · `oversize` larger than the
    limit · `status` an HTTP status that is not an answer · `ended` it no longer knows the legacy session: the client
    gets HTTP 404 and begins a new one (MCP 2025-11-25, Session Management).
    """

    def __init__(self, detail: str, *, kind: str) -> None:
        super().__init__(detail)
        self.kind = kind


class MaskFault(GatewayError):
    """A mask plan could not be carried out to the letter, so nothing of the result may leave."""


class PolicyFault(GatewayError):
    """A policy bundle cannot be loaded or admitted. Raised when a bundle is activated, never while deciding."""


class EvidenceFault(GatewayError):
    """Evidence could not be made durable. The exchange ends unanswered and the gateway stops being ready."""


class ConfigFault(GatewayError):
    """The configuration cannot be used; `detail` lists every fault with file, line and fix."""


class InternalFault(GatewayError):
    """Our own bug: an invariant that the code relies on did not hold."""
