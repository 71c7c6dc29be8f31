"""OIDC login of people: authorization code with PKCE (OpenID Connect Core §3.1, RFC 7636, RFC 9700).

The browser is sent to the issuer with a `state`, a `nonce` and the digest of a verifier, all fresh; only the browser
that began brings them back. The code is then redeemed by us, over TLS, and the ID token checked to the letter. The
access token that comes with it is used for nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import quote, urlencode, urlsplit

import httpx2
import orjson
import trio

from gateway.core.errors import IdentityUnavailable
from gateway.core.types import Document, Json, Principal
from gateway.identity import jws, oidc
from gateway.identity.issuers import key_of
from gateway.identity.login import Begun, Reason, SignedIn, refused
from gateway.identity.provider import Provider
from gateway.identity.reasons import Reason as TokenReason
from gateway.identity.reasons import refused as token_refused
from gateway.identity.settings import ClaimPath

AT_ONCE = 8
"""Codes redeemed at a time: strangers can make us ask the provider, but not more than this."""
_HASHES = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}


@dataclass(frozen=True, slots=True)
class CodeFlowConfig:
    """What an issuer knows this gateway by, for logins of people."""

    name: str
    """In our URLs."""
    title: str
    """On the button."""
    issuer: str
    client_id: str
    client_secret: str | None = field(repr=False)
    """None: a public client; PKCE alone then binds the code to us."""
    scopes: tuple[str, ...]
    groups_claim: tuple[ClaimPath, ...] | None
    """Where the ID token has the groups, when not where the issuer's access tokens have them."""
    lifetime_s: float
    """How long a login is good."""


class CodeFlow:
    """Logins through one issuer. Raises Unauthenticated and IdentityUnavailable."""

    def __init__(
        self,
        config: CodeFlowConfig,
        provider: Provider,
        http: httpx2.AsyncClient,
        *,
        redirect_uri: str,
        principal: Callable[[Document], Awaitable[Principal]],
        now: Callable[[], float],
    ) -> None:
        """`principal`: who checked claims of this issuer are about, with the groups that it keeps elsewhere; may raise
        the same. `redirect_uri` is this issuer's alone (RFC 9700 §4.4.2.2); `now` is seconds since 1970."""
        self.name, self.title = config.name, config.title
        self._config = config
        self._provider = provider
        self._issuer = provider.issuer
        self._principal = principal
        self._http = http
        self._redirect_uri = redirect_uri
        self._now = now
        self._places = trio.CapacityLimiter(AT_ONCE)
        self._asking = trio.Lock()
        self._fault = ""
        """Why the issuer could not be asked the last time."""
        self._metadata: Document = {}
        self._metadata_until = 0.0

    async def begin(self) -> Begun:
        """Where to send the browser (OIDC Core §3.1.2.1), and what it must bring back."""
        where = self._endpoint(await self._discovered(), "authorization_endpoint")
        verifier, state, nonce = (secrets.token_urlsafe(32) for _ in range(3))
        asked = {
            "response_type": "code",
            "client_id": self._config.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": " ".join(self._config.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": _base64url(hashlib.sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        query = urlencode(asked)
        joined = f"{where}{'&' if urlsplit(where).query else '?'}{query}"
        return Begun(joined, {"state": state, "nonce": nonce, "verifier": verifier})

    async def finish(self, kept: Document, answer: Mapping[str, str]) -> SignedIn:
        """Who signed in: `answer` is the query that the browser came back with, `kept` what it began with."""
        if not _same(kept.get("state"), answer.get("state")):
            raise refused(Reason.UNBEGUN)
        metadata = await self._discovered()
        # RFC 9207 §2.4: an answer that says whose it is must say ours, and must say it where the issuer promises to.
        promised = metadata.get("authorization_response_iss_parameter_supported") is True
        if answer.get("iss", None if promised else self._issuer.url) != self._issuer.url:
            raise refused(Reason.WRONG_ISSUER)
        if "error" in answer or not answer.get("code"):
            raise refused(Reason.DECLINED)
        async with self._places:
            redeemed = await self._redeem(metadata, answer["code"], str(kept.get("verifier")))
        id_token = redeemed.get("id_token")
        if not isinstance(id_token, str):
            raise refused(Reason.NO_ID_TOKEN)
        return await self._signed_in(id_token, kept.get("nonce"), redeemed.get("access_token"))

    async def _signed_in(self, id_token: str, nonce: Json, access_token: Json) -> SignedIn:
        """Check an ID token (OIDC Core §3.1.3.7), and see who it is about."""
        token = jws.read(id_token)
        if token.issuer != self._issuer.url:
            raise refused(Reason.WRONG_ISSUER)
        if token.type != "jwt" or token.claims.get("typ", "ID") != "ID":
            raise token_refused(TokenReason.WRONG_TYPE)
        if token.algorithm not in self._issuer.algorithms:
            raise token_refused(TokenReason.ALG_REFUSED)
        _, key = await key_of(self._provider, token)
        jws.check_signature(token, key, self._issuer.algorithms)
        claims, now = token.claims, self._now()
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        client = self._config.client_id
        # Several audiences leave open who asked, so `azp` must say it then (§3.1.3.7 items 3 to 5).
        party = claims.get("azp", client if len(audiences) == 1 else None)
        if client not in audiences or party != client:
            raise refused(Reason.WRONG_CLIENT)
        jws.check_times(claims, skew=self._issuer.clock_skew_s, now=now)
        if not _same(claims.get("nonce"), nonce):
            raise refused(Reason.WRONG_NONCE)
        if "at_hash" in claims and not _same(claims["at_hash"], _at_hash(token.algorithm, access_token)):
            raise refused(Reason.WRONG_HASH)
        principal = replace(await self._principal(claims), client=client)
        if principal.agent or principal.chain:
            raise refused(Reason.NOT_A_PERSON)
        issued = claims.get("iat")
        since = issued - self._issuer.clock_skew_s if isinstance(issued, int | float) else 0.0
        return SignedIn(principal, now + self._config.lifetime_s, since)

    async def _redeem(self, metadata: Document, code: str, verifier: str) -> Document:
        """What the token endpoint gives for a code (RFC 6749 §4.1.3)."""
        where = self._endpoint(metadata, "token_endpoint")
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": verifier,
        }
        headers = {"accept": "application/json", "accept-encoding": "identity"}
        headers |= self._credentials(metadata, form)
        try:
            with trio.fail_after(self._issuer.timeout_s):
                async with self._http.stream("POST", where, data=form, headers=headers) as response:
                    status, data = response.status_code, await oidc.body(response)
            redeemed = orjson.loads(data or b"")
        except trio.TooSlowError:
            raise self._unavailable(f"did not answer within {self._issuer.timeout_s:g} s") from None
        except httpx2.HTTPError as error:
            raise self._unavailable(f"could not be reached ({type(error).__name__})") from None
        except ValueError:
            raise self._unavailable("answered what is not JSON") from None
        if status >= 500 or not isinstance(redeemed, dict):
            raise self._unavailable("failed")
        if status != 200:
            raise refused(Reason.CODE_REFUSED)
        return redeemed

    def _credentials(self, metadata: Document, form: dict[str, str]) -> dict[str, str]:
        """Adds to the form, or to the headers, what proves that it is us (RFC 6749 §2.3.1)."""
        client, secret = self._config.client_id, self._config.client_secret
        methods = metadata.get("token_endpoint_auth_methods_supported")
        basic = not isinstance(methods, list) or "client_secret_basic" in methods
        if secret is not None and basic:
            both = f"{quote(client, safe='')}:{quote(secret, safe='')}"
            return {"authorization": f"Basic {base64.b64encode(both.encode()).decode()}"}
        form |= {"client_id": client} if secret is None else {"client_id": client, "client_secret": secret}
        return {}

    async def _discovered(self) -> Document:
        """The issuer's metadata, asked for again when it is as old as keys may be, or a moment after a failure.

        By one at a time: everybody may begin logins, and a provider that is down is not to be asked for each.
        """
        async with self._asking:
            if trio.current_time() >= self._metadata_until:
                try:
                    self._metadata, self._fault, valid_s = await self._discover(), "", self._issuer.jwks_max_age_s
                except IdentityUnavailable as fault:
                    self._fault, valid_s = fault.detail, self._issuer.jwks_refetch_s
                self._metadata_until = trio.current_time() + valid_s
        if self._fault:
            raise IdentityUnavailable(self._fault)
        return self._metadata

    async def _discover(self) -> Document:
        try:
            with trio.fail_after(self._issuer.timeout_s):
                return await oidc.discover(self._http, self._issuer)
        except trio.TooSlowError:
            raise self._unavailable(f"did not answer within {self._issuer.timeout_s:g} s") from None
        except httpx2.HTTPError as error:
            raise self._unavailable(f"could not be reached ({type(error).__name__})") from None

    def _endpoint(self, metadata: Document, name: str) -> str:
        """An endpoint of the issuer: https, or where the issuer itself is."""
        url = metadata.get(name)
        own = urlsplit(self._issuer.url)
        try:
            parts = urlsplit(url if isinstance(url, str) and url.isprintable() else "")
            parts.port  # noqa: B018 - raises when it is none
        except ValueError:
            parts = urlsplit("")
        secure = parts.scheme == "https" or (parts.scheme, parts.netloc) == (own.scheme, own.netloc)
        if not secure or not parts.hostname or "@" in parts.netloc or parts.fragment:
            raise self._unavailable(f"has no {name} over https in its metadata")
        return str(url)

    def _unavailable(self, what: str) -> IdentityUnavailable:
        return IdentityUnavailable(
            f"the issuer {self._issuer.url} {what}; nobody can sign in there until that is mended"
        )


def _at_hash(algorithm: str, access_token: Json) -> str:
    """The left half of the access token's hash (OIDC Core §3.1.3.6); EdDSA with Ed25519 hashes with SHA-512."""
    text = access_token if isinstance(access_token, str) else ""
    digest = _HASHES.get(algorithm[-3:], hashlib.sha512)(text.encode("utf-8", "surrogatepass")).digest()
    return _base64url(digest[: len(digest) // 2])


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _same(one: Json, other: Json) -> bool:
    """Whether both are the same text, told in a time that says nothing of it."""
    if not isinstance(one, str) or not isinstance(other, str):
        return False
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))
