"""The token endpoint, without HTTP: who asks, what for, what is presented; then a token, once its leaf is durable."""

from __future__ import annotations

import math
import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

from gateway.core.types import Document, Principal
from gateway.identity.authority import clients
from gateway.identity.authority.assertion import Spend
from gateway.identity.authority.clients import Clients
from gateway.identity.authority.grants import Code, Form, Grant, Granted, need, refusal
from gateway.identity.authority.settings import AuthorityConfig, ClientConfig
from gateway.identity.authority.signer import Issued, Signer

TOKEN_PATH, AUTHORIZE_PATH, JWKS_PATH = "/oauth/token", "/oauth/authorize", "/.well-known/jwks.json"
MAX_TOKEN_CHARACTERS = 8_000
"""Of a token that we issue: with its header it must pass an nginx with the usual 8 KiB."""


class Authority:
    """Issues tokens for the resources behind this gateway, and for nothing else."""

    def __init__(
        self,
        settings: AuthorityConfig,
        signer: Signer,
        grants: Iterable[Grant],
        *,
        upstream: Callable[[str], str | None],
        actor: Callable[[Principal], str],
        record: Callable[[Document], Awaitable[None]],
        spend: Spend,
        now: Callable[[], float],
    ) -> None:
        """`upstream`: the name behind a resource URL, None when there is none now; `actor`: a principal's pseudonym;
        `record`: puts the members of a `token.issued` leaf on record; `now`: seconds since 1970."""
        self.signer = signer
        self._lifetime_s = settings.lifetime_s
        self._grants = {grant.grant_type: grant for grant in grants}
        audiences = signer.url, signer.url + TOKEN_PATH
        self._clients = Clients(settings.clients, audiences=audiences, spend=spend, now=now)
        self._upstream = upstream
        self._actor = actor
        self._record = record
        self._spend = spend
        self._now = now

    def metadata(self) -> Document:
        """What clients learn of this authority (RFC 8414 §2).

        It has no authorization endpoint, but the official clients do not read metadata without one: who follows it is
        told to log in at the provider.
        """
        url = self.signer.url
        document: Document = {
            "issuer": url,
            "token_endpoint": url + TOKEN_PATH,
            "authorization_endpoint": url + AUTHORIZE_PATH,
            "jwks_uri": url + JWKS_PATH,
            "grant_types_supported": list(self._grants),
            "response_types_supported": [],
            "token_endpoint_auth_methods_supported": list(clients.METHODS),
            "token_endpoint_auth_signing_alg_values_supported": list(clients.ALGORITHMS),
        }
        for grant in self._grants.values():
            document |= grant.metadata
        return document

    async def token(self, form: Form, authorization: str | None) -> Document:
        """The answer to a token request (RFC 6749 §5.1). Raises GrantRefused, IdentityUnavailable and EvidenceFault."""
        client = await self._clients.authenticate(form, authorization)
        grant = self._grants.get(need(form, "grant_type"))
        if grant is None:
            raise refusal(Code.UNSUPPORTED_GRANT_TYPE, "the grant type is none of grant_types_supported")
        granted = await grant.authorise(form, client)
        upstream = self._upstream(granted.resource)
        if upstream is None or form.get("resource", granted.resource) != granted.resource:
            raise refusal(
                Code.INVALID_TARGET, "the resource is no MCP server behind this gateway, or not what is granted"
            )
        return await self._issue(grant.grant_type, client, granted, upstream)

    async def _issue(self, grant_type: str, client: ClientConfig, granted: Granted, upstream: str) -> Document:
        lifetime_s = math.floor(min(self._lifetime_s, granted.lifetime_s))
        if lifetime_s < 1:
            raise refusal(Code.INVALID_GRANT, "what was presented has expired")
        who = replace(granted.principal, client=client.id)
        issued = Issued(who, granted.resource, granted.scope, str(uuid.uuid4()), int(self._now()), lifetime_s)
        token = self.signer.sign(issued)
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise refusal(
                Code.INVALID_GRANT, "the subject is in so many groups that servers on the way refuse the token"
            )
        # Last, so that what came with a mistake in the request can be sent again without it.
        if granted.once and not await self._spend(granted.once):
            raise refusal(Code.INVALID_GRANT, "what was presented was used before; it is good for one token")
        await self._record(
            {
                "grant": grant_type,
                "client": client.id,
                "actor": self._actor(who),
                "issuer": who.issuer,
                "upstream": upstream,
                "token": issued.id,
                "expires_s": lifetime_s,
                **granted.evidence,
            }
        )
        answer: Document = {"access_token": token, "token_type": "Bearer", "expires_in": lifetime_s}
        return {**answer, "scope": granted.scope} if granted.scope else answer
