"""Ids of an upstream's tasks: good for the principal they were given to.

Whoever knows a task's id may ask for its result, so a receiver binds tasks to the context that they were made in (MCP
2025-11-25, Tasks: Task Isolation and Access Control). An upstream cannot: the gateway comes to it with credentials of
its own, whoever it comes for. So ids leave sealed for whose they are, and no other id is brought to it.

Most upstreams' ids are UUIDs, which masking takes for what identifies somebody, and one may say more than that: sealed
they say nothing, and are written so that no detector finds anything in them.
Ids in a `tasks/list` get none: an upstream lists there what it runs for everybody.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from hashlib import sha512

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from gateway.core.protocol import mcp
from gateway.core.protocol.jsonrpc import Message, Notification, Request, Success, with_body
from gateway.core.types import Document, Json

RELATED = "io.modelcontextprotocol/related-task"
"""The member of `_meta` that says to which task a message belongs (2025-11-25, Tasks: Related Task Metadata)."""
STATUSES = frozenset({"cancelled", "completed", "failed", "input_required", "working"})
ASKING = frozenset({mcp.TASK_GET, mcp.TASK_UPDATE, mcp.TASK_CANCEL, "tasks/result"})
"""Requests about one task."""
_TOLD = frozenset({"notifications/tasks", "notifications/tasks/status"})
_DIGITS, _LETTERS = "0123456789abcdef", "abcdefghijklmnop"
_WRITTEN, _READ = str.maketrans(_DIGITS, _LETTERS), str.maketrans(_LETTERS, _DIGITS)
"""Hexadecimal in letters alone."""

Rename = Callable[[str], str]


def sealed(ident: str, key: bytes, whose: str) -> str:
    """The id of an upstream's task for `whose` client it was made for; the same each time (RFC 5297)."""
    plain = ident.encode("utf-8", "surrogatepass")
    return _siv(key).encrypt(plain, [_about(whose)]).hex().translate(_WRITTEN)


def own(ident: str, key: bytes, whose: str) -> str | None:
    """The upstream's id behind one that was sealed for `whose`; None for any other."""
    if ident.strip(_LETTERS):
        return None
    try:
        plain = _siv(key).decrypt(bytes.fromhex(ident.translate(_READ)), [_about(whose)])
        return plain.decode("utf-8", "surrogatepass")
    except (InvalidTag, ValueError):
        return None


def asks(message: Message) -> bool:
    """Whether a client asks about one task."""
    return isinstance(message, Request) and message.method in ASKING


def asked(message: Message) -> str | None:
    """The id of that task; None where there is none, or what is no id: an upstream might still find one in it."""
    ident = message.params.get("taskId") if isinstance(message, Request) and asks(message) else None
    return ident if isinstance(ident, str) else None


def stands(message: Message) -> str | None:
    """How the task stands that an answer makes or tells of, in a word of MCP's; None where it tells of none."""
    result = message.result if isinstance(message, Success) else None
    match result:
        case {"task": {"taskId": _, "status": str(status)}} | {"taskId": _, "status": str(status)} if (
            status in STATUSES
        ):
            return status
    return None


def outward(message: Message, rename: Rename) -> Message:
    """What an upstream says, with each id of a task of its own renamed. A client's own tasks keep their ids."""
    match message:
        case Success(result=dict() as result) if _has(result):
            return with_body(message, _named(result, rename))
        case Notification(method="notifications/subscriptions/acknowledged", params=params):
            return with_body(message, _related(_subscribed(params, rename), rename))
        case Notification(method=method, params=params) if _has(params):
            return with_body(message, _named(params, rename) if method in _TOLD else _related(params, rename))
        case Request(params=params) if mcp.META in params:
            return with_body(message, _related(params, rename))
    return message


def inward(message: Message, rename: Rename) -> Message:
    """What a client says, with each id of a task of the upstream's renamed. A request that says that it belongs to a
    task which is not the client's says nothing of it any more: an upstream may have that one's client told of it, or
    repeat the id, which would then leave as this client's own."""
    match message:
        case Request(method=method, params=params) if method in ASKING:
            return with_body(message, _related(_id(params, rename), rename, own_alone=True))
        case Request(method=mcp.LISTEN, params=params):
            # Of a task that is not this client's own nothing is to be told, whatever an upstream would tell.
            return with_body(message, _related(_subscribed(params, rename, own_alone=True), rename, own_alone=True))
        case Request(params=params) if mcp.META in params:
            return with_body(message, _related(params, rename, own_alone=True))
        case Notification(params=params) if mcp.META in params:
            return with_body(message, _related(params, rename))
        case Success(result=dict() as result) if mcp.META in result:
            return with_body(message, _related(result, rename))
    return message


def answers_nothing(message: Message) -> bool:
    """Whether an answer to what a task asks holds none (tasks extension, Task Update Requests)."""
    if not isinstance(message, Request) or message.method != mcp.TASK_UPDATE:
        return False
    return not isinstance(message.params.get(mcp.INPUT_RESPONSES), dict)


def concerned(message: Message) -> bool:
    """Whether a request is for those alone who declared the extension: it asks about a task, or to be told of some
    (tasks extension, Protocol Errors)."""
    if not isinstance(message, Request):
        return False
    return message.method in mcp.TASK_REQUESTS or (message.method == mcp.LISTEN and bool(_wanted(message.params)))


def subscribed(message: Message) -> frozenset[str] | None:
    """The ids of the tasks that a subscription is about; None where a message is none."""
    if not isinstance(message, Request) or message.method != mcp.LISTEN:
        return None
    return frozenset(ident for ident in _wanted(message.params) if isinstance(ident, str))


def _wanted(params: Document) -> list[Json]:
    match params:
        case {"notifications": {"taskIds": list(idents)}}:
            return idents
    return []


def _subscribed(params: Document, rename: Rename, *, own_alone: bool = False) -> Document:
    """A subscription with each task's id renamed; `own_alone`: without those that have no other name there."""
    wanted = params.get("notifications")
    if not isinstance(wanted, dict) or "taskIds" not in wanted:
        return params
    idents = [ident for ident in _wanted(params) if isinstance(ident, str)]
    told: list[Json] = [rename(ident) for ident in idents if not own_alone or rename(ident) != ident]
    return {**params, "notifications": {**wanted, "taskIds": told}}


def _has(held: Document) -> bool:
    return "taskId" in held or "task" in held or mcp.META in held


def _named(held: Document, rename: Rename) -> Document:
    """Whatever names a task here: a task that was made (`task`, or this itself), or that this is about."""
    held = _related(_id(held, rename), rename)
    task = held.get("task")
    return {**held, "task": _id(task, rename)} if isinstance(task, dict) else held


def _related(held: Document, rename: Rename, *, own_alone: bool = False) -> Document:
    """With the task renamed that this belongs to; `own_alone`: of one that has no other name there nothing is said."""
    meta = held.get(mcp.META)
    if not isinstance(meta, dict) or RELATED not in meta:
        return held
    related = meta[RELATED]
    told = _id(related, rename) if isinstance(related, dict) else related
    if own_alone and told == related:
        return {**held, mcp.META: {key: value for key, value in meta.items() if key != RELATED}}
    return {**held, mcp.META: {**meta, RELATED: told}}


def _id(held: Document, rename: Rename) -> Document:
    ident: Json = held.get("taskId")
    return {**held, "taskId": rename(ident)} if isinstance(ident, str) else held


def _siv(key: bytes) -> AESSIV:
    return AESSIV(hmac.new(key, b"phigate/task/v2", sha512).digest())


def _about(whose: str) -> bytes:
    return whose.encode("utf-8", "surrogatepass")
