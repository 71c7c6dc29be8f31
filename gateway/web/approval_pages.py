"""The pages on which people review approvals: inbox, and one approval. See `pages.py` for what all pages promise."""

from __future__ import annotations

from quart import Blueprint, redirect, request

from gateway.core.policy.approval import Approval, Objection, State, requested_by
from gateway.core.types import ApprovalId, Principal
from gateway.web import approval_views, pages
from gateway.web.counter import REASON_LIMIT, STATUS, Counter
from gateway.web.login_pages import Entrance, LoginPages
from gateway.web.pages import Answer, Pages, Stop

_UNKNOWN = Stop(404, "No such approval", "There is no approval here, or it is not yours to see.")


def blueprint(counter: Counter, entrance: Entrance) -> Blueprint:
    """Serves the pages, those to sign in, and their one style sheet."""
    common = Pages(counter, entrance.notes, entrance.revokes)
    own = _ApprovalPages(common)
    places = {"template_folder": "templates", "static_folder": "static", "static_url_path": "/static"}
    routes = Blueprint("pages", __name__, **places)
    routes.add_url_rule("/", "root", own.root)
    routes.add_url_rule("/approvals", "inbox", own.inbox)
    routes.add_url_rule("/approvals/<name>", "one", own.one)
    routes.add_url_rule("/approvals/<name>/<any(grant, refuse, cancel):verb>", "act", own.act, methods=["POST"])
    LoginPages(common, entrance).add_to(routes)
    pages.prepare(routes, common)
    return routes


class _ApprovalPages:
    """One method for each page."""

    def __init__(self, pages: Pages) -> None:
        self.pages = pages
        self.counter = pages.counter

    async def root(self) -> Answer:
        return redirect("/approvals", 303)

    async def inbox(self) -> Answer:
        """The approvals that wait, or with `?state=all` those that do not any more as well."""
        who, cookie = await self.pages.signed_in()
        everything = request.args.get("state") == "all"
        found = await self.counter.listed(who, None if everything else State.PENDING)
        changed = [approval_views.changed_tool(each) for each in await self.counter.changed_tools(who)]
        rows = [(each, self._row(each)) for each in found]
        return await self.pages.page("inbox.html", 200, who, cookie, rows=rows, everything=everything, changed=changed)

    async def one(self, name: str) -> Answer:
        """One approval: exactly what will run, who asks, why, and the forms to grant or refuse it."""
        who, cookie = await self.pages.signed_in()
        found = await self.counter.seen(who, ApprovalId(name))
        if found is None:
            raise _UNKNOWN
        return await self._one(200, who, cookie, found, "")

    async def act(self, name: str, verb: str) -> Answer:
        """A form was sent: grant, refuse or cancel."""
        who, cookie = await self.pages.signed_in()
        form = await self.pages.form(cookie)
        reason = form.get("reason", "").strip()
        if len(reason) > REASON_LIMIT:
            raise Stop(413, "That reason is too long", f"Say it in at most {REASON_LIMIT} characters.")
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

    async def _one(self, status: int, who: Principal, cookie: str, found: Approval, problem: str) -> Answer:
        opened = await self.counter.opened(who, found)
        heard = {(vote.reviewer.issuer, vote.reviewer.subject) for vote in found.votes}
        return await self.pages.page(
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
