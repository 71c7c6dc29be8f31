"""What all pages for people have in common: how they are made, who looks at them, and how they end when they cannot be.

Plain HTML that works without JavaScript. Everything that changes something is a form of ours: sent from our own origin,
by this login, and carrying its proof. No page repeats what the request said, and no page may load or send anything
anywhere else (`HEADERS`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from quart import Blueprint, Response, redirect, render_template, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from gateway.core.errors import EvidenceFault, IdentityUnavailable, Unauthenticated
from gateway.core.types import Principal
from gateway.web import approval_views, login, small_body
from gateway.web.counter import Counter
from gateway.web.login import LOGIN, Login, Notes, local_path

logger = logging.getLogger(__name__)

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: with that a browser sends `Origin: null` with our own forms (Fetch §3.2).
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
Answer = BaseResponse | Response


class Stop(Exception):
    """The request ends with a page that says why. `title` and `text` are ours."""

    def __init__(self, status: int, title: str, text: str) -> None:
        super().__init__(title)
        self.status, self.title, self.text = status, title, text


class SignIn(Exception):
    """Nobody is signed in."""


class Pages:
    """What every page is made with."""

    def __init__(self, counter: Counter, notes: Notes, revokes: Callable[[Principal, float], bool]) -> None:
        """`revokes`: whether a login of this principal, since then (seconds since 1970), was revoked."""
        self.counter = counter
        self._revokes = revokes
        self.notes = notes
        self.login = Login(counter.key, counter.public_url)

    async def signed_in(self) -> tuple[Principal, str]:
        """Who is signed in, and their cookie. Raises SignIn."""
        cookie = request.cookies.get(self.login.cookie)
        found: Principal | None = None
        match self.login.unseal(cookie, LOGIN, self.counter.now()):
            case {"login": str(name)}:
                entered = await login.entered(self.notes, name, self.counter.now())
                found = entered[0] if entered is not None and not self._revokes(*entered) else None
            case {"token": str(token)}:
                try:
                    found = await self.counter.who(f"Bearer {token}")
                except Unauthenticated:
                    raise SignIn from None
        if cookie is None or found is None:
            raise SignIn
        return found, cookie

    async def form(self, cookie: str | None) -> dict[str, str]:
        """The fields of a form that one of our own pages sent; `cookie` is that of the login it must belong to."""
        if not self.login.ours(request.headers.get("Origin")):
            text = f"Forms are only taken from this gateway's own pages. Open {self.login.origin}/approvals, try there."
            raise Stop(403, "That did not come from here", text)
        form = await self.fields()
        if cookie is not None and not self.login.proved(cookie, form.get("proof", "")):
            text = "It belongs to another login. Open the approval again, and try there."
            raise Stop(403, "That form is not yours", text)
        return form

    async def fields(self, limit: int = small_body.LIMIT) -> dict[str, str]:
        """The fields of a form from anywhere, of at most `limit` bytes."""
        data = await small_body.read(limit)
        if data is None:
            raise Stop(413, "That is too much", f"A form may have {limit} bytes.")
        return small_body.fields(data)

    async def page(self, template: str, status: int, who: Principal | None, cookie: str, **values: object) -> Answer:
        """One page; `cookie` is the login's that its forms belong to."""
        proof = self.login.proof(cookie) if cookie else ""
        shared = {"who": who, "proof": proof, "plainly": approval_views.plainly, "said": approval_views.said}
        text = await render_template(f"approvals/{template}", **shared, **values)
        return Response(text, status, {"Cache-Control": "no-store"}, content_type="text/html; charset=utf-8")

    async def stopped(self, status: int, title: str, text: str) -> Answer:
        """The page that says why there is no other."""
        return await self.page("stop.html", status, None, "", title=title, text=text)

    async def onward(self, following: str) -> Answer:
        """A step to `following` that the browser makes from a page of ours.

        Cookies that are `SameSite=Strict` come with that, and not with a request that another site led to.
        """
        return await self.page("onward.html", 200, None, "", following=following)

    async def sent_to_login(self) -> Answer:
        """Nobody is signed in, as far as this request shows."""
        if request.headers.get("Sec-Fetch-Site") == "cross-site" and request.method == "GET":
            return await self.onward(local_path(request.path))
        return redirect(f"/login?next={local_path(request.path)}", 303)

    def set_cookie(self, response: Answer, name: str, value: str, life_s: int, same_site: str = "Strict") -> None:
        """Give the browser a cookie that only its requests to this very host carry; 0 seconds: take it back."""
        secure = self.login.secure
        response.set_cookie(name, value, max_age=life_s, path="/", secure=secure, httponly=True, samesite=same_site)


def prepare(routes: Blueprint, pages: Pages) -> None:
    """What holds for every page: its headers, and how it ends when it cannot be shown."""

    @routes.after_request
    async def guarded(response: Answer) -> Answer:
        response.headers.update(HEADERS)
        return response

    @routes.errorhandler(SignIn)
    async def sign_in(_: SignIn) -> Answer:
        return await pages.sent_to_login()

    @routes.errorhandler(Stop)
    async def stopped(fault: Stop) -> Answer:
        return await pages.stopped(fault.status, fault.title, fault.text)

    @routes.errorhandler(IdentityUnavailable)
    async def no_identity(_: IdentityUnavailable) -> Answer:
        text = "The identity provider cannot be asked right now, so nobody can be recognised. Try again soon."
        return await pages.stopped(503, "Nobody can sign in", text)

    @routes.errorhandler(EvidenceFault)
    async def no_evidence(_: EvidenceFault) -> Answer:
        text = "Nothing can be put on record right now, so nothing is shown and nothing was done. Try again soon."
        return await pages.stopped(503, "The evidence log is not ready", text)

    @routes.errorhandler(Exception)
    async def failed(bug: Exception) -> Answer:
        if isinstance(bug, HTTPException):
            text = "This page cannot be asked for in this way."
            return await pages.stopped(bug.code or 500, "That does not work", text)
        # A bug of ours. Its text may hold anything, so its type alone is told, and the request ends undone.
        logger.error("a page failed: %s", type(bug).__name__)
        return await pages.stopped(500, "The gateway failed", "Look whether anything was done before you try again.")
