"""The pages through which people sign in and out.

    GET  /login                    one button for each way to sign in, and a form for an access token
    GET  /login/with/<name>        off to the identity provider
    GET  /login/callback/<name>    back from an OIDC provider (`identity/code_flow.py`)
    POST /saml/acs                 back from a SAML identity provider (`identity/saml/`), and on to
    GET  /login/finish/<ticket>
    GET  /saml/metadata            what a SAML identity provider needs to know of us
    POST /logout

Whoever another site sends here is nobody until their own browser shows, by its sealed cookie, that it
began this very login here: otherwise a stranger could sign a reviewer in as themselves (login CSRF, RFC 9700 §4.7).
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from quart import Blueprint, Response, redirect, request

from gateway.core.errors import Unauthenticated
from gateway.core.types import Document, Principal
from gateway.identity.login import Begun, Reason, SignedIn, refused
from gateway.identity.saml.rules import Verified
from gateway.web import login
from gateway.web.counter import DOOR
from gateway.web.login import BEGUN, BEGUN_S, LOGIN, local_path, token_life_s
from gateway.web.pages import Answer, Pages, Stop

SAML_LIMIT = 220 * 1024
"""Bytes of a form with a SAML response, whose base64 is encoded once more."""


class Way(Protocol):
    """A way to sign in. Raises Unauthenticated and IdentityUnavailable."""

    name: str
    title: str

    async def begin(self) -> Begun: ...


class Answered(Protocol):
    """See `identity.saml.service.Answered`."""

    @property
    def way(self) -> str: ...
    @property
    def request(self) -> str: ...
    @property
    def signed_in(self) -> SignedIn: ...


class ServiceProvider(Protocol):
    """See `identity.saml.service.ServiceProvider`."""

    @property
    def ways(self) -> Mapping[str, Way]: ...

    async def metadata(self) -> bytes: ...

    async def answer(self, encoded: str) -> Answered: ...

    async def asserted(self, data: bytes, recipient: str) -> tuple[Verified, str]: ...


class CodeWay(Way, Protocol):
    """One that ends where the browser is sent back with a code."""

    async def finish(self, kept: Document, answer: Mapping[str, str]) -> SignedIn: ...


@dataclass(frozen=True, slots=True)
class Entrance:
    """How people come in."""

    notes: login.Notes
    record: Callable[[Principal, str], Awaitable[None]]
    """Puts a login on record, and by which kind of way. Raises EvidenceFault."""
    revokes: Callable[[Principal, float], bool]
    """Whether a login of this principal, since then (seconds since 1970), was revoked."""
    codes: Mapping[str, CodeWay]
    """By name, those that end with a code."""
    saml: ServiceProvider | None
    """Those that end with a SAML assertion."""

    @property
    def ways(self) -> dict[str, Way]:
        """All ways by name, as the page shows them."""
        return {**self.codes, **(self.saml.ways if self.saml is not None else {})}


class LoginPages:
    """One method for each page."""

    def __init__(self, pages: Pages, entrance: Entrance) -> None:
        self.pages = pages
        self.entrance = entrance

    def add_to(self, routes: Blueprint) -> None:
        """Serve the pages."""
        routes.add_url_rule("/login", "login", self.choice)
        routes.add_url_rule("/login", "sign_in", self.with_token, methods=["POST"])
        routes.add_url_rule("/login/with/<name>", "begin", self.begin)
        routes.add_url_rule("/login/callback/<name>", "callback", self.callback)
        routes.add_url_rule("/saml/metadata", "saml_metadata", self.saml_metadata)
        routes.add_url_rule("/saml/acs", "saml_answer", self.saml_answer, methods=["POST"])
        routes.add_url_rule("/login/finish/<ticket>", "finish", self.finish)
        routes.add_url_rule("/logout", "logout", self.logout, methods=["POST"])

    async def choice(self) -> Answer:
        """The ways to sign in."""
        return await self._choice(200, local_path(request.args.get("next", "")), "")

    async def with_token(self) -> Answer:
        """A pasted token is verified and sealed into the cookie, or the form comes back with what is wrong."""
        form = await self.pages.form(None)
        following = local_path(form.get("next", ""))
        token = form.get("token", "").strip().removeprefix("Bearer ").strip()
        if not token:
            return await self._choice(401, following, "Paste an access token first.")
        counter = self.pages.counter
        try:
            who = await counter.who(f"Bearer {token}")
        except Unauthenticated as fault:
            return await self._choice(401, following, f"This token cannot be used: {fault.detail}.")
        life_s = token_life_s(token, counter.now())
        value = self.pages.login.seal({"token": token}, LOGIN, counter.now(), life_s)
        if value is None:
            what = "This token is too large for a browser's cookie. Review with `phigate approvals` instead."
            return await self._choice(401, following, what)
        await self.entrance.record(who, "token")
        response = redirect(following, 303)
        self.pages.set_cookie(response, self.pages.login.cookie, value, life_s)
        return response

    async def begin(self, name: str) -> Answer:
        """The browser goes to the identity provider, and keeps what it must bring back."""
        way = self.entrance.ways.get(name)
        if way is None:
            raise Stop(404, "There is no such way to sign in", "Open the sign-in page and choose one there.")
        begun = await way.begin()
        kept: Document = {"way": name, "next": local_path(request.args.get("next", "")), "kept": begun.kept}
        value = self.pages.login.seal(kept, BEGUN, self.pages.counter.now(), BEGUN_S) or ""
        response = redirect(begun.url, 303)
        response.headers["Cache-Control"] = "no-store"
        # Lax: the provider leads the browser back here, and then the cookie must come along.
        self.pages.set_cookie(response, self.pages.login.begun, value, BEGUN_S, "Lax")
        return response

    async def callback(self, name: str) -> Answer:
        """Back from an OIDC provider."""
        way, kept = self.entrance.codes.get(name), self._kept(name)
        try:
            if way is None or kept is None:
                raise refused(Reason.UNBEGUN)
            found = await way.finish(kept, request.args.to_dict())
        except Unauthenticated as fault:
            return await self.not_signed_in(fault)
        return await self.signed_in(found, "oidc")

    async def saml_metadata(self) -> Answer:
        """What a SAML identity provider needs to know of us."""
        data = await self._saml().metadata()
        return Response(data, 200, content_type="application/samlmetadata+xml")

    async def saml_answer(self) -> Answer:
        """Back from a SAML identity provider, whose page posts to us.

        A browser sends none of our cookies with that, so the answer is checked and noted, and signs nobody in until
        the next step, which the browser makes from a page of ours, shows by its cookie that it asked for this answer.
        """
        form = await self.pages.fields(SAML_LIMIT)
        try:
            found = await self._saml().answer(form.get("SAMLResponse", ""))
        except Unauthenticated as fault:
            return await self.not_signed_in(fault)
        ticket = secrets.token_urlsafe(24)
        note: Document = {
            **login.noted(found.signed_in),
            "way": found.way,
            "request": found.request,
        }
        await self.pages.notes.change(f"saml {ticket}", lambda _: note)
        return await self.pages.onward(f"/login/finish/{ticket}")

    async def finish(self, ticket: str) -> Answer:
        """The second step of a login with SAML: the browser that asked for the answer, and none other, uses it."""
        note = await self._taken(ticket)
        kept = self._kept(str(note.get("way", "")))
        found = login.of_note(note, self.pages.counter.now())
        if kept is None or found is None or kept.get("request") != note.get("request"):
            return await self.not_signed_in(refused(Reason.UNBEGUN))
        return await self.signed_in(found, "saml")

    async def _taken(self, ticket: str) -> Document:
        """What was noted of an answer, which is forgotten here."""
        found: list[Document] = [{}]

        def take(note: Document) -> Document:
            found.append(note)
            return {}

        await self.pages.notes.change(f"saml {ticket}", take)
        return found[-1]

    def _saml(self) -> ServiceProvider:
        if self.entrance.saml is None:
            raise Stop(404, "There is no SAML here", "Open the sign-in page and choose a way there.")
        return self.entrance.saml

    async def signed_in(self, found: SignedIn, kind: str) -> Answer:
        """The login is on record and noted; the browser goes on to where the person wanted to be."""
        pages, now = self.pages, self.pages.counter.now()
        await self.entrance.record(found.principal, kind)
        name = await login.enter(pages.notes, found)
        life_s = max(0, int(found.until - now.timestamp()))
        following = self._following()
        response = await pages.onward(following)
        pages.set_cookie(
            response, pages.login.cookie, pages.login.seal({"login": name}, LOGIN, now, life_s) or "", life_s
        )
        pages.set_cookie(response, pages.login.begun, "", 0, "Lax")
        return response

    async def not_signed_in(self, fault: Unauthenticated) -> Answer:
        """The page that says why nobody is signed in; counted, like a refused token."""
        self.pages.counter.failed_login(fault.reason, DOOR)
        response = await self.pages.page("refused.html", 401, None, "", why=fault.detail, reason=fault.reason)
        self.pages.set_cookie(response, self.pages.login.begun, "", 0, "Lax")
        return response

    async def logout(self) -> Answer:
        """The login ends in every process, and its cookie is forgotten."""
        pages = self.pages
        _, cookie = await pages.signed_in()
        await pages.form(cookie)
        match pages.login.unseal(cookie, LOGIN, pages.counter.now()):
            case {"login": str(name)}:
                await login.leave(pages.notes, name)
        response = redirect("/login", 303)
        pages.set_cookie(response, pages.login.cookie, "", 0)
        return response

    def _begun(self) -> Document:
        value = request.cookies.get(self.pages.login.begun)
        return self.pages.login.unseal(value, BEGUN, self.pages.counter.now()) or {}

    def _kept(self, name: str) -> Document | None:
        """What this browser kept when it began a login by the way of this name."""
        match self._begun():
            case {"way": str(way), "kept": dict(kept)} if way == name:
                return kept
        return None

    def _following(self) -> str:
        return local_path(str(self._begun().get("next", "")))

    async def _choice(self, status: int, following: str, problem: str) -> Answer:
        ways = list(self.entrance.ways.values())
        told = {"ways": ways, "following": following, "problem": problem, "audience": self.pages.counter.resource}
        return await self.pages.page("login.html", status, None, "", **told)
