"""The pages on which people review approvals: inbox, one approval, login. Plain HTML that works without JavaScript.

Everything that changes something is a form of ours: sent from our own origin, by this login, and carrying its proof.
No page repeats what the request said, and no page may load or send anything anywhere else (`HEADERS`).
"""

from __future__ import annotations

import logging

from quart import Blueprint, Response, redirect, render_template, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from gateway.core.errors import EvidenceFault, IdentityUnavailable, Unauthenticated
from gateway.core.policy.approval import Approval, Objection, State, requested_by
from gateway.core.types import ApprovalId, Principal
from gateway.web import approval_views, small_body
from gateway.web.counter import REASON_LIMIT, STATUS, Counter
from gateway.web.login import Login, local_path

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


class _Stop(Exception):
    """The request ends with a page that says why. `title` and `text` are ours."""

    def __init__(self, status: int, title: str, text: str) -> None:
        super().__init__(title)
        self.status, self.title, self.text = status, title, text


_UNKNOWN = _Stop(404, "No such approval", "There is no approval here, or it is not yours to see.")


class _SignIn(Exception):
    """Nobody is signed in."""


def blueprint(counter: Counter) -> Blueprint:
    """Serves the pages and their one style sheet."""
    pages = _Pages(counter)
    places = {"template_folder": "templates", "static_folder": "static", "static_url_path": "/static"}
    routes = Blueprint("pages", __name__, **places)
    routes.add_url_rule("/", "root", pages.root)
    routes.add_url_rule("/approvals", "inbox", pages.inbox)
    routes.add_url_rule("/approvals/<name>", "one", pages.one)
    routes.add_url_rule("/approvals/<name>/<any(grant, refuse, cancel):verb>", "act", pages.act, methods=["POST"])
    routes.add_url_rule("/login", "login", pages.login_form)
    routes.add_url_rule("/login", "sign_in", pages.sign_in, methods=["POST"])
    routes.add_url_rule("/logout", "logout", pages.logout, methods=["POST"])
    _add_error_handlers(routes, pages)
    routes.after_request(_guarded)
    return routes


class _Pages:
    """One method for each page."""

    def __init__(self, counter: Counter) -> None:
        self.counter = counter
        self.login = Login(counter.key, counter.public_url)

    async def root(self) -> Answer:
        return redirect("/approvals", 303)

    async def inbox(self) -> Answer:
        """The approvals that wait, or with `?state=all` those that do not any more as well."""
        who, cookie = await self._signed_in()
        everything = request.args.get("state") == "all"
        found = await self.counter.listed(who, None if everything else State.PENDING)
        changed = [approval_views.changed_tool(each) for each in await self.counter.changed_tools(who)]
        rows = [(each, self._row(each)) for each in found]
        return await self._page("inbox.html", 200, who, cookie, rows=rows, everything=everything, changed=changed)

    async def one(self, name: str) -> Answer:
        """One approval: exactly what will run, who asks, why, and the forms to grant or refuse it."""
        who, cookie = await self._signed_in()
        found = await self.counter.seen(who, ApprovalId(name))
        if found is None:
            raise _UNKNOWN
        return await self._one(200, who, cookie, found, "")

    async def act(self, name: str, verb: str) -> Answer:
        """A form was sent: grant, refuse or cancel."""
        who, cookie = await self._signed_in()
        form = await self._form(cookie)
        reason = form.get("reason", "").strip()
        if len(reason) > REASON_LIMIT:
            raise _Stop(413, "That reason is too long", f"Say it in at most {REASON_LIMIT} characters.")
        done = await self.counter.act(who, ApprovalId(name), verb, reason)
        match done:
            case None:
                raise _UNKNOWN
            case Objection(ground=ground, message=message):
                found = await self.counter.seen(who, ApprovalId(name))
                if found is None:
                    raise _UNKNOWN
                return await self._one(STATUS[ground], who, cookie, found, message)
            case Approval():
                return redirect(f"/approvals/{done.id}", 303)

    async def login_form(self) -> Answer:
        """Where a person pastes their access token."""
        following = local_path(request.args.get("next", ""))
        return await self._page("login.html", 200, None, "", following=following, problem="")

    async def sign_in(self) -> Answer:
        """The token is verified and sealed into the cookie, or the form comes back with what is wrong."""
        form = await self._form(None)
        following = local_path(form.get("next", ""))
        token = form.get("token", "").strip().removeprefix("Bearer ").strip()
        problem = "Paste an access token first."
        if token:
            try:
                await self.counter.who(f"Bearer {token}")
            except Unauthenticated as fault:
                problem = f"This token cannot be used: {fault.detail}."
            else:
                made = self.login.seal(token, self.counter.now())
                if made is not None:
                    response = redirect(following, 303)
                    self._set_cookie(response, *made)
                    return response
                problem = "This token is too large for a browser's cookie. Review with `phigate approvals` instead."
        return await self._page("login.html", 401, None, "", following=following, problem=problem)

    async def logout(self) -> Answer:
        """The cookie is forgotten."""
        _, cookie = await self._signed_in()
        await self._form(cookie)
        response = redirect("/login", 303)
        self._set_cookie(response, "", 0)
        return response

    async def sent_to_login(self) -> Answer:
        """Nobody is signed in, as far as this request shows."""
        if request.headers.get("Sec-Fetch-Site") == "cross-site" and request.method == "GET":
            # Followed from a message elsewhere: a SameSite=Strict cookie comes only with the next step, from our page.
            return await self._page("onward.html", 200, None, "", following=local_path(request.path))
        return redirect(f"/login?next={local_path(request.path)}", 303)

    async def stopped(self, status: int, title: str, text: str) -> Answer:
        """The page that says why there is no other."""
        return await self._page("stop.html", status, None, "", title=title, text=text)

    async def _one(self, status: int, who: Principal, cookie: str, found: Approval, problem: str) -> Answer:
        opened = await self.counter.opened(who, found)
        heard = {(vote.reviewer.issuer, vote.reviewer.subject) for vote in found.votes}
        return await self._page(
            "approval.html",
            status,
            who,
            cookie,
            approval=found,
            row=self._row(found),
            opened=opened,
            parts=approval_views.parts(found) if opened else [],
            own=requested_by(found.ask, who),
            heard=(who.issuer, who.subject) in heard,
            problem=problem,
        )

    def _row(self, approval: Approval) -> dict[str, object]:
        shown = approval_views.summary(approval, self.counter.url(approval.id))
        return {
            **shown,
            "story": approval_views.story(approval),
            "remaining": approval_views.remaining(approval, self.counter.now()),
            "live": approval.state in (State.PENDING, State.GRANTED),
        }

    async def _signed_in(self) -> tuple[Principal, str]:
        """Who is signed in, and their cookie. Raises _SignIn."""
        cookie = request.cookies.get(self.login.cookie)
        token = self.login.unseal(cookie, self.counter.now())
        if cookie is None or token is None:
            raise _SignIn
        try:
            return await self.counter.who(f"Bearer {token}"), cookie
        except Unauthenticated:
            raise _SignIn from None

    async def _form(self, cookie: str | None) -> dict[str, str]:
        """The fields of a form that one of our own pages sent; `cookie` is that of the login it must belong to."""
        if not self.login.ours(request.headers.get("Origin")):
            text = f"Forms are only taken from this gateway's own pages. Open {self.login.origin}/approvals, try there."
            raise _Stop(403, "That did not come from here", text)
        data = await small_body.read()
        if data is None:
            raise _Stop(413, "That is too much", f"A form may have {small_body.LIMIT} bytes.")
        form = small_body.fields(data)
        if cookie is not None and not self.login.proved(cookie, form.get("proof", "")):
            text = "It belongs to another login. Open the approval again, and try there."
            raise _Stop(403, "That form is not yours", text)
        return form

    async def _page(self, template: str, status: int, who: Principal | None, cookie: str, **values: object) -> Answer:
        proof = self.login.proof(cookie) if cookie else ""
        shared = {"who": who, "proof": proof, "plainly": approval_views.plainly, "said": approval_views.said}
        text = await render_template(f"approvals/{template}", **shared, **values)
        return Response(text, status, {"Cache-Control": "no-store"}, content_type="text/html; charset=utf-8")

    def _set_cookie(self, response: Answer, value: str, life_s: int) -> None:
        secure = self.login.secure
        response.set_cookie(
            self.login.cookie, value, max_age=life_s, path="/", secure=secure, httponly=True, samesite="Strict"
        )


async def _guarded(response: Answer) -> Answer:
    response.headers.update(HEADERS)
    return response


def _add_error_handlers(routes: Blueprint, pages: _Pages) -> None:
    @routes.errorhandler(_SignIn)
    async def sign_in(_: _SignIn) -> Answer:
        return await pages.sent_to_login()

    @routes.errorhandler(_Stop)
    async def stopped(fault: _Stop) -> Answer:
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
        logger.error("an approvals page failed: %s", type(bug).__name__)
        return await pages.stopped(500, "The gateway failed", "Look whether anything was done before you try again.")
