"""How a client without a usable token is told where to get one. Pure.

RFC 9728: metadata of each upstream's resource, and its address in the `WWW-Authenticate` challenge. RFC 6750 §3: the
error in that challenge, and the scopes that an upstream requires: clients ask for them at once, or for more when they
have too few (MCP 2025-11-25, Authorization: Scope Selection Strategy, Scope Challenge Handling). What policy denies is
no challenge: there is no scope that could be asked for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from gateway.core.errors import Unauthenticated
from gateway.core.types import Document
from gateway.identity.reasons import Reason

WELL_KNOWN = "/.well-known/oauth-protected-resource"


def metadata_url(resource: str) -> str:
    """Where the metadata of a resource is (RFC 9728 §3.1): the well-known part goes between its host and its path."""
    parts = urlsplit(resource)
    return f"{parts.scheme}://{parts.netloc}{WELL_KNOWN}{parts.path}"


def metadata(resource: str, issuers: Iterable[str], scopes: Sequence[str] = ()) -> Document:
    """The metadata document (RFC 9728 §2) of a resource that requires these scopes."""
    document: Document = {
        "resource": resource,
        "authorization_servers": list(issuers),
        "bearer_methods_supported": ["header"],
    }
    return {**document, "scopes_supported": list(scopes)} if scopes else document


def challenge(fault: Unauthenticated, resource: str, scopes: Sequence[str] = ()) -> tuple[int, str]:
    """The HTTP status and the `WWW-Authenticate` value for a request to `resource` (RFC 9728 §5.1, RFC 6750 §3.1).

    A request that carried no token is told no error; one that carried it in the URL is a bad request.
    """
    parts = [f'resource_metadata="{metadata_url(resource)}"']
    if scopes:
        parts.insert(0, f'scope="{" ".join(scopes)}"')
    if fault.reason != Reason.MISSING.value:
        parts[:0] = [f'error="{_ERRORS.get(fault.reason, "invalid_token")}"', f'error_description="{fault.detail}"']
    return _STATUS.get(fault.reason, 401), "Bearer " + ", ".join(parts)


_STATUS = {Reason.IN_URL.value: 400, Reason.INSUFFICIENT_SCOPE.value: 403}
_ERRORS = {Reason.IN_URL.value: "invalid_request", Reason.INSUFFICIENT_SCOPE.value: "insufficient_scope"}
