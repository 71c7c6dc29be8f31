"""Whether a token belongs to a program of its own accord, or to a person: no standard claim says so. Pure.

One mark is enough: a person who is taken for a program may do less, a program that is taken for a person could review.
docs/identity/agents.md has the marks by provider.
"""

from __future__ import annotations

from gateway.core.types import Document, Json

_CLIENT_CLAIMS = ("client_id", "azp", "cid", "appid")
"""RFC 9068 §2.2; OpenID Connect Core §2; Okta; Entra ID v1."""
_GRANTS = frozenset({"client-credentials", "client_credentials"})


def is_agent(claims: Document) -> bool:
    """Whether the claims of an access token, or of an assertion, are about a program."""
    subject = _text(claims.get("sub"))
    return (
        # RFC 9068 §2.2: without a resource owner `sub` is the client. Okta and most others.
        any(subject and subject == claims.get(name) for name in _CLIENT_CLAIMS)
        # Auth0: `sub` is the client with a suffix, and `gty` the grant.
        or subject.endswith("@clients")
        or bool(_GRANTS & _texts(claims.get("gty")))
        # Entra ID: the optional claim; without it, an application's object is its own subject and has no scopes.
        or claims.get("idtyp") == "app"
        or (subject != "" and subject == claims.get("oid") and "scp" not in claims)
        # Keycloak: the user that stands for a client's service account; nobody can register under such a name.
        or _text(claims.get("preferred_username")).startswith("service-account-")
        # Google service accounts, Kubernetes service accounts, SPIFFE workloads.
        or _text(claims.get("email")).endswith(".gserviceaccount.com")
        or subject.startswith(("system:serviceaccount:", "spiffe://"))
    )


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: Json) -> frozenset[str]:
    items = value if isinstance(value, list) else [value]
    return frozenset(_text(item) for item in items)
