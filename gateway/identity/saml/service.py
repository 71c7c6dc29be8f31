"""The SAML service provider: begins logins, and takes what identity providers answer, whichever process it reaches.

Nothing is remembered of a request: its id carries a seal of ours, so that any replica knows an answer to it. That one
assertion is used once is remembered in the notes that all replicas share, for longer than an assertion may be good.
Signatures are checked in threads, a few at a time and each with a deadline, because strangers can send us answers.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256

import trio

from gateway.core.errors import IdentityUnavailable, Unauthenticated
from gateway.identity.authority.assertion import spent_key
from gateway.identity.login import Begun, SignedIn
from gateway.identity.saml import document, rules
from gateway.identity.saml.document import Message
from gateway.identity.saml.metadata import Metadata, Source
from gateway.identity.saml.pysaml import OurKey, Pysaml
from gateway.identity.saml.reasons import Reason, refused
from gateway.identity.saml.rules import Expected, Verified
from gateway.identity.saml.settings import IdpConfig, SamlConfig

ACS_PATH, METADATA_PATH = "/saml/acs", "/saml/metadata"
AT_ONCE = 4
"""Answers whose signatures are checked at a time."""
WAITING = 32
"""Answers that may wait for that."""
CHECK_S = 15.0
REQUEST_S = 600
"""How long a person may take at their identity provider."""

_REQUEST = re.compile(r"_([0-9a-f]{8})([0-9a-f]{32})([0-9a-f]{32})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer that lets somebody in: by which way, and to which request. Only the browser that asked may use it."""

    way: str
    request: str
    signed_in: SignedIn


class Way:
    """Logins through one identity provider."""

    def __init__(self, service: ServiceProvider, source: Source) -> None:
        self.name, self.title = source.idp.name, source.idp.title
        self._service = service
        self._source = source

    async def begin(self) -> Begun:
        """Where to send the browser, and what it must bring back. Raises IdentityUnavailable."""
        return await self._service.begin(self._source)


class ServiceProvider:
    """What `[saml]` configures."""

    def __init__(
        self,
        config: SamlConfig,
        pysaml: Pysaml,
        key: OurKey,
        sources: Sequence[Source],
        *,
        public_url: str,
        seal: bytes,
        once: Callable[[str], Awaitable[bool]],
        now: Callable[[], float],
    ) -> None:
        """`seal`: a key that all processes have; `once`: whether nobody asked for this before; `now`: since 1970."""
        self.ways: Mapping[str, Way] = {source.idp.name: Way(self, source) for source in sources}
        self.consumer = public_url + ACS_PATH
        self._config = config
        self._pysaml = pysaml
        self._key = key
        self._sources = {source.idp.entity_id: source for source in sources}
        self._seal = hmac.new(seal, b"phigate saml request", sha256).digest()
        self._once = once
        self._now = now
        self._places = trio.CapacityLimiter(AT_ONCE)

    async def metadata(self) -> bytes:
        """Our metadata, for identity providers."""
        job = partial(self._pysaml.metadata, self._key, entity_id=self._config.entity_id, consumer=self.consumer)
        return await trio.to_thread.run_sync(job)

    async def begin(self, source: Source) -> Begun:
        """A login through one identity provider (SAML profiles §4.1)."""
        found, at = await source.current(), self._now()
        ident = self._request_id(source.idp, at)
        job = partial(
            self._pysaml.request,
            self._key,
            ident=ident,
            sso_url=found.sso_url,
            entity_id=self._config.entity_id,
            consumer=self.consumer,
            at=datetime.fromtimestamp(at, UTC),
        )
        return Begun(await trio.to_thread.run_sync(job), {"request": ident})

    async def answer(self, encoded: str) -> Answered:
        """Who an answer at our assertion consumer service lets in. Raises Unauthenticated, IdentityUnavailable."""
        read = document.read(document.decode(encoded))
        root = read.root
        rules.check_status(root)
        message = document.response(read)
        source = self._source(rules.issuer_of(message.assertion))
        expected = self._expected(self.consumer, partial(self._wrong_request, source.idp))
        # First what costs nothing: a stranger must have begun a login here before a signature is checked.
        rules.check_response(root, source.idp, expected)
        await self._check(message, source)
        found = rules.verify(message.assertion, source.idp, expected)
        if found.request is None or root.get("InResponseTo") != found.request:
            raise refused(Reason.WRONG_REQUEST)
        if not await self._once(spent_key("saml", source.idp.entity_id, found.id)):
            raise refused(Reason.REPLAYED)
        ends = [self._now() + source.idp.lifetime_s]
        ends += [] if found.session_until is None else [found.session_until]
        return Answered(source.idp.name, found.request, SignedIn(found.principal, min(ends), found.issued))

    async def asserted(self, data: bytes, recipient: str) -> tuple[Verified, str]:
        """Who a bare assertion is about that was made for `recipient`, and under what it is used once (RFC 7522 §3).

        It must answer no login request: one that does is somebody's login, and not for a program. Raises
        Unauthenticated, IdentityUnavailable.
        """
        message = document.bare(document.read(data))
        source = self._source(rules.issuer_of(message.assertion))
        expected = self._expected(recipient, lambda found: None if found is None else Reason.UNEXPECTED_REQUEST)
        await self._check(message, source)
        found = rules.verify(message.assertion, source.idp, expected)
        return found, spent_key("saml", source.idp.entity_id, found.id)

    def _source(self, issuer: str) -> Source:
        source = self._sources.get(issuer)
        if source is None:
            raise refused(Reason.UNKNOWN_ISSUER)
        return source

    def _expected(self, recipient: str, answers: Callable[[str | None], Reason | None]) -> Expected:
        return Expected(self._config.entity_id, recipient, answers, self._config.clock_skew_s, self._now())

    async def _check(self, message: Message, source: Source) -> None:
        """That the identity provider signed the assertion, or the response around it; every signature must hold."""
        if not message.signed:
            raise refused(Reason.UNSIGNED)
        found = await source.current()
        try:
            await self._check_with(message, found)
        except Unauthenticated:
            newer = await source.beyond(found)
            if newer is found:
                raise
            await self._check_with(message, newer)

    async def _check_with(self, message: Message, found: Metadata) -> None:
        if self._places.statistics().tasks_waiting >= WAITING:
            raise IdentityUnavailable("too many people sign in at once; try again soon")
        try:
            with trio.fail_after(CHECK_S):
                for element in message.signed:
                    job = partial(self._pysaml.check, message.document, element, found.certificates)
                    await trio.to_thread.run_sync(job, abandon_on_cancel=True, limiter=self._places)
        except trio.TooSlowError:
            raise IdentityUnavailable("a signature could not be checked in time; try again soon") from None

    def _request_id(self, idp: IdpConfig, at: float) -> str:
        drawn = f"{int(at):08x}{secrets.token_hex(16)}"
        return f"_{drawn}{self._sealed(idp, drawn)}"

    def _sealed(self, idp: IdpConfig, drawn: str) -> str:
        return hmac.new(self._seal, f"{drawn} {idp.name}".encode(), sha256).hexdigest()[:32]

    def _wrong_request(self, idp: IdpConfig, ident: str | None) -> Reason | None:
        """Whether we made a request of this id, for this identity provider, and not too long ago."""
        match = _REQUEST.fullmatch(ident or "")
        if match is None or not hmac.compare_digest(match[3], self._sealed(idp, match[1] + match[2])):
            return Reason.WRONG_REQUEST
        return None if self._now() < int(match[1], 16) + REQUEST_S else Reason.EXPIRED
