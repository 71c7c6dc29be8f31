"""What the configuration says of an upstream's credentials."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Kind(Enum):
    """How they are come by; the value is the word in the configuration."""

    CLIENT_CREDENTIALS = "client_credentials"
    TOKEN_EXCHANGE = "token_exchange"
    PASSTHROUGH = "passthrough"


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """A token endpoint, and the gateway as its client. Exactly one of `secret` and `key` is set."""

    url: str
    client_id: str
    secret: str | None = field(repr=False)
    key: str | None = field(repr=False)
    """A private key in PEM: RSA, P-256 or Ed25519."""
    key_id: str
    assertion_audience: str
    """What the endpoint calls itself in an assertion of a client."""
    scope: str
    resource: str
    audience: str
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Settings:
    """`endpoint` is None for PASSTHROUGH alone; `audience` is what the caller's token must then be for."""

    kind: Kind
    endpoint: EndpointSettings | None
    audience: str = ""
