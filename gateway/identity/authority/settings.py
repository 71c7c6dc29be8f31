"""What the configuration says of the authority."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """A program that may ask for tokens. Exactly one of `secret` and `jwks` is set."""

    id: str
    secret: str | None = field(repr=False)
    jwks: bytes | None = field(repr=False)
    """A JWK set with its public keys (RFC 7517), in JSON."""


@dataclass(frozen=True, slots=True)
class AuthorityConfig:
    """The `[authority]` table."""

    lifetime_s: int
    """Of every token, unless its grant allows less."""
    clients: tuple[ClientConfig, ...]
    id_jag_issuers: tuple[str, ...]
    """The configured issuers whose identity assertions are turned into tokens."""
    first_at: frozenset[str]
    """The upstreams and aggregates whose metadata names us before the issuers: clients exist that read no further."""
