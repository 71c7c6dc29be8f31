"""What identity needs to know of a configured issuer."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_GROUPS = 512
"""Most groups of anybody: a token of 16 KiB holds some 400, and policies are measured with so many."""

ClaimPath = tuple[str, ...]
"""The way to a claim: ("realm_access", "roles")."""


@dataclass(frozen=True, slots=True)
class GraphConfig:
    """Microsoft Graph, asked for the groups that Entra ID left out of a token. Times in seconds."""

    url: str
    """Where the API is, with its version: "https://graph.microsoft.com/v1.0"."""
    token_url: str
    """The tenant's token endpoint."""
    client_id: str
    client_secret: str = field(repr=False)
    cache_s: float
    """How long an answer is used."""
    timeout_s: float
    """Deadline of one look-up, its token included."""


@dataclass(frozen=True, slots=True)
class IssuerConfig:
    """An OIDC provider whose access tokens are accepted. Times in seconds."""

    url: str
    """The `iss` claim, compared character by character."""
    audience: str | None
    """What `aud` must hold instead of the upstream's resource URL."""
    algorithms: tuple[str, ...]
    groups_claim: tuple[ClaimPath, ...]
    """Where the groups are; those of several claims are put together."""
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
    only_agents: bool = False
    """Whether every token is a program's, whatever it says: an issuer for workloads."""
    subject_claim: str = "sub"
    """The claim that names the person or agent."""
    other_audiences: frozenset[str] | None = None
    """What `aud` may hold beside ours; None: anything."""
    require_at_jwt: bool = False
    """Whether a token's header must say at+jwt."""
    max_lifetime_s: float = 86_400.0
    """Longest time from `iat` to `exp`."""
    short_scopes: bool = False
    """Whether tokens hold only what stands after the last slash of a scope that was asked for."""
    max_groups: int = MAX_GROUPS
    """Most groups of a token. Some providers shorten longer lists without saying so."""
    graph: GraphConfig | None = None
