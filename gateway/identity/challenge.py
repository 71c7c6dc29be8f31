"""How a client without a usable token is told where to get one. Pure.

RFC 9728: metadata of each upstream's resource, and its address in the `WWW-Authenticate` challenge. RFC 6750 §3: the
error in that challenge. There is no 403 challenge: access is decided by policy, for which no scope could be asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from gateway.core.errors import Unauthenticated
from gateway.core.types import Document
from gateway.identity.reasons import Reason

WELL_KNOWN = "/.well-known/oauth-protected-resource"


def metadata_url(resource: str) -> str:
    """Where the metadata of a resource is (RFC 9728 §3.1): the well-known part goes between its host and its path."""
    parts = urlsplit(resource)
    return f"{parts.scheme}://{parts.netloc}{WELL_KNOWN}{parts.path}"


def metadata(resource: str, issuers: Iterable[str]) -> Document:
    """The metadata document (RFC 9728 §2)."""
    return {
        "resource": resource,
        "authorization_servers": list(issuers),
        "bearer_methods_supported": ["header"],
    }


def challenge(fault: Unauthenticated, resource: str) -> tuple[int, str]:
    """The HTTP status and the `WWW-Authenticate` value for a request to `resource` (RFC 9728 §5.1, RFC 6750 §3.1).

    A request that carried no token is told no error; one that carried it in the URL is a bad request.
    """
    where = f'resource_metadata="{metadata_url(resource)}"'
    if fault.reason == Reason.MISSING.value:
        return 401, f"Bearer {where}"
    in_url = fault.reason == Reason.IN_URL.value
    error = "invalid_request" if in_url else "invalid_token"
    value = f'Bearer error="{error}", error_description="{fault.detail}", {where}'
    return (400 if in_url else 401), value
