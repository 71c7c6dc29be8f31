"""What is wrong with an HTTP answer that is no answer, in words that help whoever configured the upstream."""

from __future__ import annotations

from urllib.parse import SplitResult, urljoin, urlsplit

from gateway.core.errors import UpstreamFault


def same_origin(url: str, location: str) -> bytes:
    """The target that a redirect leads to. Raises UpstreamFault if it leads elsewhere: credentials would follow it."""
    try:
        here, there = urlsplit(url), urlsplit(urljoin(url, location))
    except ValueError:
        raise UpstreamFault("it redirects to what is no address", kind="status") from None
    if not location or (here.scheme, here.netloc) != (there.scheme, there.netloc):
        raise UpstreamFault("it redirects to another origin, where its credentials must not go", kind="status")
    return target(there)


def target(url: SplitResult) -> bytes:
    """What of a URL a request names."""
    return ((url.path or "/") + (f"?{url.query}" if url.query else "")).encode()


def unexpected(status: int) -> UpstreamFault:
    """The fault of a status that says that there is no answer."""
    hint = {
        401: ": check the credentials configured for it",
        403: ": check the credentials configured for it",
        404: ": check the path of its URL",
        405: ": it does not offer this",
        429: ": it asks for fewer requests",
    }
    return UpstreamFault(f"it answered HTTP {status}{hint.get(status, '')}", kind="status")
