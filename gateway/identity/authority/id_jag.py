"""Enterprise-managed authorization: an identity assertion of the organisation's provider becomes a token.

The grant of draft-ietf-oauth-identity-assertion-authz-grant-04 as MCP's extension profiles it (ext-auth, "Enterprise-
Managed Authorization" §5): a JWT that the provider made for one client at one authority, about one subject.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from hashlib import sha256
from typing import Protocol

from gateway.core.errors import GrantRefused, Unauthenticated
from gateway.core.types import Document, Json, Principal
from gateway.identity import jws
from gateway.identity.authority import assertion
from gateway.identity.authority.grants import Code, Form, Granted, need, refusal
from gateway.identity.authority.settings import ClientConfig
from gateway.identity.jws import Jws
from gateway.identity.settings import IssuerConfig

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
PROFILE = "urn:ietf:params:oauth:grant-profile:id-jag"
TYPE = "oauth-id-jag+jwt"


class Trusted(Protocol):
    """What is asked of `Issuers`. Both raise Unauthenticated and IdentityUnavailable."""

    async def vouched(self, token: Jws, among: Container[str]) -> IssuerConfig:
        """The issuer, one of those named, whose key signed a JWT."""

    async def asserted(self, claims: Document, issuer: IssuerConfig) -> Principal:
        """Who the claims, which were checked, are about."""


class IdJag:
    """See `grants.Grant`."""

    grant_type = GRANT_TYPE

    def __init__(self, issuers: Container[str], *, url: str, trusted: Trusted, now: Callable[[], float]) -> None:
        """`url`: how the provider must call this authority; `now`: seconds since 1970."""
        self.metadata: Document = {"authorization_grant_profiles_supported": [PROFILE]}
        self._issuers = issuers
        self._url = url
        self._trusted = trusted
        self._now = now

    async def authorise(self, form: Form, client: ClientConfig) -> Granted:
        """See `Grant`. What was presented is good for one token (ext-auth §6.4.2)."""
        try:
            token = jws.read(need(form, "assertion"))
            if token.type != TYPE:
                raise _refused(f"its header does not say that it is an {TYPE}")
            issuer = await self._trusted.vouched(token, self._issuers)
            ident = self._check(token.claims, issuer, client)
            return Granted(
                principal=await self._trusted.asserted(token.claims, issuer),
                resource=_resource(token.claims.get("resource"), form),
                scope=_scope(token.claims.get("scope"), form),
                once=assertion.spent_key("id-jag", issuer.url, ident),
                evidence={"assertion": sha256(ident.encode("utf-8", "surrogatepass")).hexdigest()},
            )
        except Unauthenticated as fault:
            raise _refused(fault.reason) from None

    def _check(self, claims: Document, issuer: IssuerConfig, client: ClientConfig) -> str:
        """Whether it is for us, from this client and now; its id. Raises Unauthenticated or GrantRefused."""
        ident = assertion.id_of(claims)
        if not assertion.is_for(claims.get("aud"), self._url):
            raise _refused("its aud is not this authority alone")
        if claims.get("client_id") != client.id:
            raise _refused("its client_id is not the client that sent it")
        if ident is None or not assertion.fresh(claims, skew=issuer.clock_skew_s, now=self._now()):
            raise _refused("it has no jti, no iat, or an exp more than an hour away")
        for claim, what in _NOT_UNDERSTOOD.items():
            if claim in claims:
                raise _refused(f"its {claim} claim {what}")
        return ident


_NOT_UNDERSTOOD = {
    "cnf": "binds it to a key, which a request without DPoP does not prove",
    "authorization_details": "limits it in a way that this authority cannot keep to",
    "tenant": "says that its subject is only unique within a tenant; use an issuer of the tenant's own",
}


def _resource(claim: Json, form: Form) -> str:
    """The one resource: what the assertion is for, chosen by the request where it is for several."""
    named = claim if isinstance(claim, list) else [claim]
    wanted = form.get("resource", named[0] if len(named) == 1 else None)
    if not isinstance(wanted, str) or wanted not in named:
        raise refusal(Code.INVALID_TARGET, "the assertion names no resource, or not the one that is asked for")
    return wanted


def _scope(claim: Json, form: Form) -> str:
    """What is asked for and also granted (ext-auth §6.2.1)."""
    granted = claim.split() if isinstance(claim, str) else []
    asked = form["scope"].split() if "scope" in form else granted
    return " ".join(each for each in granted if each in asked)


def _refused(why: str) -> GrantRefused:
    return refusal(Code.INVALID_GRANT, f"the identity assertion is refused: {why}")
