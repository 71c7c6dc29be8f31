"""What the configuration says of SAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class IdpConfig:
    """An identity provider through which people sign in. Times in seconds."""

    name: str
    title: str
    """On the button."""
    entity_id: str
    metadata_file: Path | None
    metadata_url: str | None
    """Exactly one of these is set."""
    metadata_certificate: bytes | None = field(repr=False)
    """PEM: its metadata must be signed with this."""
    groups_attribute: str | None
    subject_attribute: str | None
    """Which attribute names the person; None: the NameID."""
    principal_issuer: str
    """By which issuer policy knows its people: `entity_id` unless they are those of an `[[issuer]]`."""
    lifetime_s: float


@dataclass(frozen=True, slots=True)
class SamlConfig:
    """The `[saml]` table."""

    entity_id: str
    """By which identity providers know this gateway."""
    key: bytes = field(repr=False)
    """PEM of the RSA key that signs our requests."""
    certificate: bytes
    """PEM of its certificate, for our metadata."""
    xmlsec1: Path
    """The program that checks signatures."""
    clock_skew_s: float
    refresh_s: float
    """How long metadata from a URL is used before it is fetched again."""
    stale_s: float
    """How much longer, when it cannot be fetched."""
    timeout_s: float
    identity_providers: tuple[IdpConfig, ...]
