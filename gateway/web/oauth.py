"""The authority over HTTP: its metadata (RFC 8414), its keys (RFC 7517), and the token endpoint (RFC 6749 §3.2)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from urllib.parse import parse_qsl

import orjson
from quart import Blueprint, Response, request

from gateway.core.errors import EvidenceFault, GrantRefused, IdentityUnavailable
from gateway.core.types import Document
from gateway.identity.authority.authority import AUTHORIZE_PATH, JWKS_PATH, TOKEN_PATH, Authority
from gateway.identity.authority.grants import Code, Form, refusal
from gateway.web import small_body

DOOR = "authority"
"""How the record of failed logins names this place."""
METADATA_PATH = "/.well-known/oauth-authorization-server"

_FORM = "application/x-www-form-urlencoded"
_MAX_PARAMETERS = 32
_NO_STORE = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_PUBLIC = {
    "cache-control": "public, max-age=300",
    "access-control-allow-origin": "*",
    "x-content-type-options": "nosniff",
}

logger = logging.getLogger(__name__)


def blueprint(authority: Authority, failed_login: Callable[[str, str], None]) -> Blueprint:
    """Serves the authority; `failed_login` is told the error and DOOR when no token is issued."""
    routes = Blueprint("oauth", __name__)

    @routes.get(METADATA_PATH)
    async def metadata() -> Response:
        return _answer(200, authority.metadata(), _PUBLIC)

    @routes.get(JWKS_PATH)
    async def jwks() -> Response:
        return _answer(200, authority.signer.jwks, _PUBLIC)

    @routes.get(AUTHORIZE_PATH)
    async def authorize() -> Response:
        what = "nobody logs in here; log in at one of the other authorization_servers of the resource"
        return _answer(400, _error("unsupported_response_type", what), _NO_STORE)

    @routes.post(TOKEN_PATH)
    async def token() -> Response:
        authorization = request.headers.get("Authorization")
        try:
            return _answer(200, await authority.token(await _form(), authorization), _NO_STORE)
        except GrantRefused as fault:
            failed_login(fault.code, DOOR)
            known = fault.code != Code.INVALID_CLIENT.value
            # RFC 6749 §5.2: a client that tried the header is told which scheme it takes.
            more = {} if known or authorization is None else {"www-authenticate": 'Basic realm="phigate"'}
            return _answer(400 if known else 401, _error(fault.code, fault.detail), {**_NO_STORE, **more})
        except (IdentityUnavailable, EvidenceFault) as fault:
            logger.error("no token was issued: %s", fault.detail)
            what = "what is needed to issue a token cannot be reached; try again soon"
            return _answer(503, _error("temporarily_unavailable", what), {**_NO_STORE, "retry-after": "5"})

    return routes


async def _form() -> Form:
    """The parameters of the current request. Raises GrantRefused."""
    if request.mimetype != _FORM:
        raise refusal(Code.INVALID_REQUEST, f"the request must be {_FORM}")
    data = await small_body.read()
    if data is None:
        raise refusal(Code.INVALID_REQUEST, f"the request is larger than {small_body.LIMIT} bytes")
    try:
        pairs = parse_qsl(data.decode(), keep_blank_values=True, max_num_fields=_MAX_PARAMETERS, errors="strict")
    except ValueError:
        raise refusal(Code.INVALID_REQUEST, "the request is no form of UTF-8 parameters") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        twice = [name for name, _ in pairs].count("resource") > 1
        code = Code.INVALID_TARGET if twice else Code.INVALID_REQUEST
        raise refusal(code, "a parameter is there twice; a token is for one resource")
    return form


def _error(code: str, detail: str) -> Document:
    return {"error": code, "error_description": detail}


def _answer(status: int, document: Document, headers: dict[str, str]) -> Response:
    return Response(orjson.dumps(document), status, headers, content_type="application/json")
