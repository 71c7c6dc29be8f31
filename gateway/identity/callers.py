"""Who calls: whom a token names or, without one, whom the client certificate names that a trusted ingress handed on.

With both, the token says who calls: it names the person whom the agent acts for. The certificate then only proves that
a token which is bound to it has come over the connection that it was given to (RFC 8705 §3).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from gateway.core.types import Principal
from gateway.identity import mtls
from gateway.identity.issuers import Issuers, refuse_in_url
from gateway.identity.mtls import Certificates, MtlsSettings
from gateway.identity.reasons import Reason, refused
from gateway.identity.tokens import Verified


class Callers:
    """Everybody who may call, however they are known."""

    def __init__(
        self, issuers: Issuers, settings: MtlsSettings | None, *, now: Callable[[], float] = time.time
    ) -> None:
        """`settings` say which certificates are believed, if any are; `now` is seconds since 1970."""
        self._issuers = issuers
        self._certificates = Certificates(settings) if settings is not None else None
        self._now = now

    async def identify(
        self,
        authorization: str | None,
        *,
        resource: str,
        query: bytes = b"",
        scopes: Sequence[str] = (),
        certificate: bytes | None = None,
    ) -> Principal:
        """Like `Issuers.identify`; `certificate` is what a trusted ingress handed on of its client's."""
        if certificate is None or self._certificates is None:
            return await self._issuers.identify(authorization, resource=resource, query=query, scopes=scopes)
        der = self._certificates.read(certificate)
        if authorization is not None:
            return await self._issuers.identify(
                authorization, resource=resource, query=query, scopes=scopes, thumbprint=mtls.thumbprint(der)
            )
        refuse_in_url(query)
        known = self._certificates.identify(der, now=self._now())
        if self._issuers.revokes(Verified(known.principal, known.until, known.since, "")):
            raise refused(Reason.REVOKED)
        if scopes:
            raise refused(Reason.INSUFFICIENT_SCOPE)  # Nobody granted it any: a certificate says only who it is.
        return known.principal
