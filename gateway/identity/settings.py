"""What identity needs to know of a configured issuer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IssuerConfig:
    """An OIDC provider whose access tokens are accepted. Times in seconds."""

    url: str
    """The `iss` claim, compared character by character."""
    audience: str | None
    """What `aud` must hold instead of the upstream's resource URL."""
    algorithms: tuple[str, ...]
    groups_claim: tuple[str, ...]
    """Path to the groups: ("realm_access", "roles")."""
    client_claim: str | None
    """The claim that names the client; None: `client_id`, else `azp`."""
    clock_skew_s: float
    jwks_max_age_s: float
    """How long fetched keys are used before they are fetched again."""
    jwks_stale_s: float
    """How much longer they are used when the provider cannot be asked."""
    jwks_refetch_s: float
    """Least time between two fetches that unknown key ids or failures cause."""
    timeout_s: float
