"""The SAML assertion grant (RFC 7522): a program presents an assertion about a person, and gets a token for it.

The assertion is made for us (`Audience`: our entity id) and for this use of it (`Recipient`: the token endpoint),
answers no login request, is signed itself, and is good for one token. `[saml]` says who may make them.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from hashlib import sha256
from typing import Protocol

from gateway.core.errors import Unauthenticated
from gateway.core.types import Document, Principal
from gateway.identity.authority.grants import Code, Form, Granted, need, refusal
from gateway.identity.authority.settings import ClientConfig
from gateway.identity.saml.rules import Verified

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:saml2-bearer"
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+={0,2}", re.ASCII)


class Asserted(Protocol):
    """See `service.ServiceProvider.asserted`."""

    async def __call__(self, data: bytes, recipient: str) -> tuple[Verified, str]: ...


class SamlBearer:
    """See `grants.Grant`."""

    grant_type = GRANT_TYPE

    def __init__(
        self,
        asserted: Asserted,
        *,
        token_url: str,
        revokes: Callable[[Principal, float], bool],
        now: Callable[[], float],
    ) -> None:
        """`token_url`: the recipient that assertions must name; `revokes`: whether what was said of somebody then
        (seconds since 1970) was revoked; `now`: seconds since 1970.
        """
        self._revokes = revokes
        self.metadata: Document = {}
        self._asserted = asserted
        self._token_url = token_url
        self._now = now

    async def authorise(self, form: Form, client: ClientConfig) -> Granted:  # noqa: ARG002 - any that is configured
        """See `Grant`."""
        encoded = need(form, "assertion")
        try:
            if _BASE64URL.fullmatch(encoded) is None:
                raise ValueError
            data = base64.urlsafe_b64decode(encoded.rstrip("=") + "=" * (-len(encoded.rstrip("=")) % 4))
        except (ValueError, binascii.Error):
            raise refusal(Code.INVALID_GRANT, "the assertion is not base64url (RFC 7522 section 2.1)") from None
        try:
            found, once = await self._asserted(data, self._token_url)
        except Unauthenticated as fault:
            raise refusal(Code.INVALID_GRANT, f"the assertion is refused: {fault.reason}") from None
        if self._revokes(found.principal, found.issued):
            raise refusal(Code.INVALID_GRANT, "what was presented was revoked")
        return Granted(
            principal=found.principal,
            resource=need(form, "resource"),
            lifetime_s=min(found.until, found.session_until or found.until) - self._now(),
            once=once,
            evidence={"assertion": sha256(found.id.encode()).hexdigest()},
        )
