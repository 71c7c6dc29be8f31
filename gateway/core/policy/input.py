"""The `input` document that each entrypoint is given; `policies/schema/` describes it field by field.

Small on purpose: policy pays for every byte, and a result's body never goes in, only its profile. What changes from one
question to the next is stamped in by the driver just before policy is asked, so that two phases of one call have their
own: the time and, where policy has budgets or an emergency is claimed, how the principal stands (`store/standing.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import orjson

from gateway.core.call import Call, Emergency
from gateway.core.masking.profile import Profile
from gateway.core.policy import asks
from gateway.core.protocol import mcp
from gateway.core.protocol.jsonrpc import Failure, Message, Notification, Request, Success
from gateway.core.types import Document, Json, Principal, Tool

_TOLD = frozenset({"_meta", "arguments"})
"""Members of params that policy finds elsewhere, or not at all."""
_TOLD_NAMED = _TOLD | {"name"}


def for_call(call: Call, *, approval: Document | None = None) -> Document:
    """Input of `gateway/call/decision`; `approval` is present once the call has been granted."""
    document = _common(call, "call")
    about = _about(call)
    message = {**about, **_content(call.message, about["name"])}
    document["message"] = message if call.task is None else {**message, "held": True}
    if call.justification:
        document["justification"] = call.justification
    if call.emergency is not Emergency.NONE:
        document["emergency"] = {"requested": True, "justified": bool(call.justification.strip())}
    if approval is not None:
        document["approval"] = approval
    return document


def for_result(call: Call, message: Message, profile: Profile, *, approval: Document | None = None) -> Document:
    """Input of `gateway/result/decision` for anything that travels from upstream to client."""
    document = {**_for_any_result(call), **_of_result(message, profile)}
    if approval is not None:
        document["approval"] = approval
    return document


def for_results(
    call: Call, messages: Sequence[Message], profiles: Sequence[Profile]
) -> Iterator[tuple[bytes, Document]]:
    """The inputs of `for_result` for several messages of one call, each under what is the same for two of them exactly
    where their inputs are: what is asked twice at one time is one question."""
    shared = _for_any_result(call)
    known: dict[object, tuple[bytes, Document]] = {}
    for number, (message, profile) in enumerate(zip(messages, profiles, strict=True)):
        # Of most notifications policy is told the method and the profile, and those that came together share profiles.
        place: object = number
        if isinstance(message, Notification) and asks.wants_nothing(message.params):
            place = message.method, id(profile)
        if place not in known:
            own = _of_result(message, profile)
            try:
                key = orjson.dumps(own, option=orjson.OPT_SORT_KEYS)
            except TypeError:  # A name that is no text, as in JSON within a text: policy is not asked, denies this one.
                key = b"unlike any other: %d" % number
            known[place] = key, {**shared, **own}
        yield known[place]


def for_catalogue(call: Call, kind: str, items: list[Json]) -> Document:
    """Input of `gateway/catalogue/decision`: the items of one listing, by name and annotations."""
    document = _common(call, "catalogue")
    document["message"] = _about(call)
    document["catalogue"] = {"kind": kind, "items": items}
    return document


def principal_document(principal: Principal) -> Document:
    """A principal as policy sees it, here and in the approval and access questions."""
    return {
        "iss": principal.issuer,
        "sub": principal.subject,
        "groups": list(principal.groups),
        "client": principal.client,
        "acr": principal.acr,
        "amr": list(principal.amr),
        "chain": list(principal.chain),
        "kind": principal.kind,
    }


def name_of(message: Message) -> str:
    """What a request is about: the tool's or prompt's name, or the resource's URI; of a completion, what it completes.

    Read where the upstream reads it and nowhere else: `resources/read` with a `name` beside its `uri` is about the URI.
    """
    if not isinstance(message, Request | Notification):
        return ""
    held, key = message.params, "uri" if message.method.startswith("resources/") else "name"
    if message.method == mcp.COMPLETE:
        ref = held.get("ref")
        held = ref if isinstance(ref, dict) else {}
        key = "uri" if held.get("type") == mcp.REF_RESOURCE else "name"
    value = held.get(key)
    return value if isinstance(value, str) else ""


def _common(call: Call, phase: str) -> Document:
    return {
        "phase": phase,
        "principal": principal_document(call.principal),
        "session": {"id": call.session, "era": call.era.value, "version": call.version},
        "upstream": {"name": call.upstream.name, "labels": call.upstream.labels},
        "purpose": call.purpose,
        "tool": _tool(call.tool),
        "facts": call.facts,
    }


def _about(call: Call) -> Document:
    match call.message:
        case Request(method=method):
            return {"kind": "request", "method": method, "name": name_of(call.message)}
        case Notification(method=method):
            return {"kind": "notification", "method": method, "name": name_of(call.message)}
        case Success() | Failure():
            return {"kind": "response", "method": call.answers, "name": ""}


def _content(message: Message, name: Json) -> Document:
    match message:
        case Request(params=params) | Notification(params=params):
            told = _TOLD_NAMED if params.get("name") == name else _TOLD
            rest = {key: value for key, value in params.items() if key not in told}
            return {"arguments": params.get("arguments", {}), "params": rest}
        case Success(result=result):
            return {"arguments": {}, "params": {"result": result}}
        case Failure(code=code, message=text, data=data):
            return {"arguments": {}, "params": {"error": {"code": code, "message": text, "data": data}}}


def _tool(tool: Tool | None) -> Json:
    if tool is None:
        return None
    return {
        "name": tool.name,
        "pin": tool.pin,
        "annotations": tool.definition.get("annotations", {}),
        "changed": tool.changed,
    }


def _for_any_result(call: Call) -> Document:
    document = _common(call, "result")
    document["message"] = _about(call)
    if call.emergency is Emergency.GRANTED:
        document["emergency"] = {"granted": True}
    return document


def _of_result(message: Message, profile: Profile) -> Document:
    return {"result": _result(message), "profile": profile.document}


def _result(message: Message) -> Document:
    match message:
        case Success(result=result):
            failed = isinstance(result, dict) and result.get("isError") is True
            found: Document = {"kind": "success", "method": "", "is_error": failed}
            if mcp.is_task(result):
                found["task"] = True
        case Failure(code=code):
            found = {"kind": "error", "method": "", "is_error": True, "code": code}
        case Request(method=method):
            found = {"kind": "request", "method": method, "is_error": False}
        case Notification(method=method):
            found = {"kind": "notification", "method": method, "is_error": False}
    return {**found, **asks.of(message)}
