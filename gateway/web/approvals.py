"""Approvals over HTTP: a JSON API for programs, and pages for people (`approval_pages.py`), behind one blueprint.

    GET  /api/approvals?state=          those that the caller may see, newest first, without their arguments;
                                        and the tools that changed, for those who may accept that
    GET  /api/approvals/<id>            one, with exactly what will run for those who may review it
    POST /api/approvals/<id>/grant      {"reason": "…"}; likewise refuse and cancel

The API believes bearer tokens and nothing else: a cookie, which a browser sends for any page that asks it to, is not
looked at. Every refusal is JSON, `{"error": {"code", "message"}}`, and repeats nothing of the request.
"""

from __future__ import annotations

import json
import logging

import orjson
from quart import Blueprint, Response, request

from gateway.core.errors import EvidenceFault, IdentityUnavailable, Unauthenticated
from gateway.core.policy.approval import Approval, Objection, State
from gateway.core.types import ApprovalId, Document, Json
from gateway.web import approval_pages, approval_views, small_body
from gateway.web.counter import REASON_LIMIT, STATUS, Counter
from gateway.web.login_pages import Entrance

logger = logging.getLogger(__name__)


class _Refused(Exception):
    """The request is answered with an error. `message` is ours and repeats nothing of the request."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


_UNKNOWN = _Refused(404, "unknown_approval", "There is no approval with this id, or it is not yours to see.")


def blueprint(counter: Counter, entrance: Entrance) -> Blueprint:
    """Serves the API and the pages."""
    routes = Blueprint("approvals", __name__)
    routes.register_blueprint(_api(counter))
    routes.register_blueprint(approval_pages.blueprint(counter, entrance))
    return routes


def _api(counter: Counter) -> Blueprint:
    routes = Blueprint("api", __name__, url_prefix="/api/approvals")
    _add_error_handlers(routes)

    @routes.get("")
    async def listed() -> Response:
        who = await counter.who(request.headers.get("Authorization"))
        found = await counter.listed(who, _state(request.args.get("state", "")))
        shown: list[Json] = [approval_views.summary(each, counter.url(each.id)) for each in found]
        changed: list[Json] = [approval_views.changed_tool(each) for each in await counter.changed_tools(who)]
        return _answer(200, {"approvals": shown, "changed_tools": changed})

    @routes.get("/<name>")
    async def one(name: str) -> Response:
        who = await counter.who(request.headers.get("Authorization"))
        found = await counter.seen(who, ApprovalId(name))
        if found is None:
            raise _UNKNOWN
        view = approval_views.full if await counter.opened(who, found) else approval_views.summary
        return _answer(200, view(found, counter.url(found.id)))

    @routes.post("/<name>/<any(grant, refuse, cancel):verb>")
    async def act(name: str, verb: str) -> Response:
        who = await counter.who(request.headers.get("Authorization"))
        done = await counter.act(who, ApprovalId(name), verb, await _reason())
        match done:
            case None:
                raise _UNKNOWN
            case Objection(ground=ground, message=message):
                raise _Refused(STATUS[ground], ground.value, message)
            case Approval():
                return _answer(200, approval_views.summary(done, counter.url(done.id)))

    return routes


def _state(text: str) -> State | None:
    if not text:
        return None
    try:
        return State(text)
    except ValueError:
        known = ", ".join(state.value for state in State)
        raise _Refused(400, "unknown_state", f"`state` is one of {known}, or absent for all.") from None


async def _reason() -> str:
    """The reason in the request's JSON body; a request without a body gives none."""
    data = await small_body.read()
    if data is None:
        raise _Refused(413, "oversize", f"The body may have {small_body.LIMIT} bytes.")
    if not data:
        return ""
    try:
        document: Json = orjson.loads(data)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict) or document.keys() - {"reason"}:
        raise _Refused(400, "malformed", 'The body is a JSON object with `reason` and nothing else: {"reason": "…"}.')
    reason = document.get("reason", "")
    if not isinstance(reason, str) or len(reason) > REASON_LIMIT:
        raise _Refused(400, "malformed", f"`reason` is text of at most {REASON_LIMIT} characters.")
    return reason


def _add_error_handlers(routes: Blueprint) -> None:
    @routes.errorhandler(_Refused)
    async def refused(fault: _Refused) -> Response:
        return _error(fault.status, fault.code, fault.message)

    @routes.errorhandler(Unauthenticated)
    async def unauthenticated(fault: Unauthenticated) -> Response:
        response = _error(401, "unauthenticated", f"Not signed in: {fault.detail}.")
        response.headers["WWW-Authenticate"] = f'Bearer error="invalid_token", error_description="{fault.detail}"'
        return response

    @routes.errorhandler(IdentityUnavailable)
    async def no_identity(_: IdentityUnavailable) -> Response:
        return _error(503, "identity_unavailable", "The identity provider cannot be asked right now. Try again soon.")

    @routes.errorhandler(EvidenceFault)
    async def no_evidence(_: EvidenceFault) -> Response:
        return _error(503, "evidence_unavailable", "Nothing can be put on record right now, so nothing was done.")

    @routes.errorhandler(Exception)
    async def failed(bug: Exception) -> Response:
        # A bug of ours. Its text may hold anything, so its type alone is told, and the request ends undone.
        logger.error("the approvals API failed: %s", type(bug).__name__)
        return _error(500, "internal", "The gateway failed. Nothing is said to have been done; look before you retry.")


def _error(status: int, code: str, message: str) -> Response:
    return _answer(status, {"error": {"code": code, "message": message}})


def _answer(status: int, document: Document) -> Response:
    # The standard library's writer: arguments may hold integers that others refuse.
    text = json.dumps(document, separators=(",", ":"))
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return Response(text, status, headers, content_type="application/json")
