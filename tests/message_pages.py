"""`docs/messages.md`: what becomes of each message of MCP, from the known methods and the shipped policy.

A method without a row here fails the tests, and so does a row that says something else than the shipped policy.
"""

from __future__ import annotations

import json
from pathlib import Path

from gateway.core.protocol import mcp, paging

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "messages.md"
SETTINGS = json.loads((ROOT / "policies" / "gateway" / "settings" / "data.json").read_text())

LISTS = paging.PAGED - {"tasks/list"}
STANDING = "(listen)"
DEFAULTS = {
    "protocol": "every role",
    "tool": "roles with a grant of this tool; then `tools`, `sql`, `fhir` and the guards that are on",
    "resource": "roles with a grant of this resource",
    "prompt": "roles with a grant of this prompt",
    "completion": "roles with a grant of the prompt or template that is completed",
    "task": "roles that may call some tool here",
}
NAMES = {
    "tools/call": "the tool",
    "prompts/get": "the prompt",
    "resources/read": "the URI",
    "resources/subscribe": "the URI",
    "resources/unsubscribe": "the URI",
    "completion/complete": "the prompt or template",
}
"""What `message.name` is in the decision input, where it is anything."""
ABOUT = {
    "elicitation/create": "form, or a page to open: policy is told its origin (`opens`)",
    "notifications/tasks": "brings results and questions along (`asks`, `opens`); clients poll instead",
}

HEAD = """# Messages

What becomes of each message, by method: every one of every revision from 2024-11-05 to 2026-07-28 and of the tasks
extension. Written by `make docs` from the methods that the gateway knows and from the shipped policy; a test compares.

Whatever is not in these tables is a method of no revision: a client gets `-32601` (2026-07-28: with 404) unless
`settings.methods` names it, an upstream's is withheld. A method that is in them and not in the settings is refused too.

"""

CLIENT = """## From the client

Each is decided by `gateway/call/decision` before anything is sent; `message` of its input has the kind, the method, the
name as below, the arguments and the other params, never `_meta` (docs/policy-documents.md). What was sent is on record
sealed and is not masked: `exchange.refused`, or `exchange.intent` with exactly one `exchange.outcome`.

| method | kind | name | who may, as shipped | the answer |
|---|---|---|---|---|
"""

UPSTREAM = """
## From the upstream

What an upstream sends on its own is decided by `gateway/result/decision` and masked with the plan of that decision
before it is passed on. Each is an `exchange.message` on record within the exchange that it came in: `relayed` with the
bytes that left, or `withheld`. A request that is withheld is answered by the gateway with an error. Notifications that
come close together and of which policy is told the same [share a record](decisions/0022-bursts-of-notifications.md).

| method | kind | as shipped | |
|---|---|---|---|
"""

PARTS = (
    (
        "result, error (with its `data`)",
        "`gateway/result/decision`: kind, code, what it `asks` and `opens`, and its PHI profile",
        "whole, `_meta`, `structuredContent`, error message and data too; an error's code outside ±32768 "
        "becomes `-32603`",
        "`exchange.outcome`: the bytes that left, the manifest, the digest of what came",
    ),
    (
        "items of a listing",
        "`gateway/catalogue/decision`: name, annotations, whether changed; then as a result",
        "as a result",
        "the decision, in the outcome",
    ),
    (
        "`instructions`, `serverInfo`, capabilities",
        "as the result of `initialize` or `server/discover` they are part of",
        "identifiers only (`settings.identifiers`)",
        "in the outcome",
    ),
    (
        "a task in place of a result",
        "as the result that it is (`task`); withheld for SQL whose result would be masked: by its id alone nobody "
        "knows which columns it renames",
        "as a result; so is what `tasks/get` and `tasks/result` bring",
        "in the outcome",
    ),
    (
        "the id of an upstream's task",
        "not by policy: it leaves sealed, the same each time, for its principal at its upstream; any other id is "
        "refused (`-32602`). Those in a `tasks/list`, which are everybody's, leave as they are; that an upstream "
        "has one is taken out of its capabilities",
        "it cannot be read; when the task was made and has changed stays, masked or not",
        "sealed as it was handed out",
    ),
    (
        "`inputRequests` of a result or a task",
        "methods in `asks`, origins of pages in `opens`",
        "as part of the result",
        "in the outcome",
    ),
    (
        "`inputResponses` that come with a call",
        "the guard `asks` of `gateway/call/decision`",
        "no: they are the client's",
        "in the intent",
    ),
    (
        "an answer to an upstream's request",
        "`gateway/call/decision`, kind `response`, under that request's method; its id is sealed for its session",
        "no",
        "as a call",
    ),
    (
        "a cursor",
        "not by policy: it leaves sealed, for its principal, upstream and method, and comes back unsealed",
        "it cannot be read",
        "sealed as it was handed out",
    ),
    (
        "`requestState` of an upstream",
        "as a cursor is, for the method and params that it was given for; one that does not open is refused (`-32602`)",
        "it cannot be read",
        "sealed as it was handed out; as it was, in the intent of the call that brings it back",
    ),
    (
        "the gateway's own `requestState` and tasks, of calls that wait ([approvals](approvals.md))",
        "the call they are for, again; a `tasks/…` request with `held` in its `message`. Neither goes upstream, but "
        "for the answers that a `tasks/update` brings: they go on with the call, which is decided with them in it",
        "what is handed out is what was masked when the call ran",
        "`exchange.intent` and `exchange.outcome` of each retry and poll, and of each time that the call goes on",
    ),
    (
        "`cacheScope`",
        '`public` only where the result\'s decision has the label `cache: "public"`',
        "it becomes `private`",
        "in the outcome",
    ),
    (
        "`_meta` of a request, with `traceparent`, `tracestate`, `baggage`",
        "not told to policy, but for the purpose, the justification and the emergency that it may state",
        "no: it goes upstream as it is; of an exchange that is traced, `traceparent` names the gateway's span",
        "in the intent, as it came",
    ),
    (
        "HTTP headers",
        "not at all: none of the client's goes upstream but `Mcp-*` that repeat the body",
        "",
        "",
    ),
)
"""What is decided as part of a message: what it is, how it is decided, what is masked, what is on record."""
PARTS_HEAD = """
## What is no message of its own

| part | decided with | masked | on record |
|---|---|---|---|
"""


def page() -> str:
    """The whole document."""
    client = sorted(mcp.CLIENT_REQUESTS | mcp.CLIENT_NOTIFICATIONS | {STANDING})
    upstream = sorted(mcp.UPSTREAM_REQUESTS | mcp.UPSTREAM_NOTIFICATIONS)
    return HEAD + CLIENT + "".join(map(_called, client)) + UPSTREAM + "".join(map(_said, upstream)) + _parts()


def _parts() -> str:
    return PARTS_HEAD + "".join(f"| {' | '.join(row)} |\n" for row in PARTS)


def _called(method: str) -> str:
    kind = "request" if method in mcp.CLIENT_REQUESTS else "stream" if method == STANDING else "notification"
    granted = SETTINGS["methods"].get(method)
    who = "nobody" if granted is None else DEFAULTS[granted]
    shown = f"`{method}`" if method != STANDING else "the legacy GET stream, `(listen)`"
    return f"| {shown} | {kind} | {NAMES.get(method, '')} | {who} | {_answer(method, kind)} |\n"


def _answer(method: str, kind: str) -> str:
    if method in (mcp.LISTEN, STANDING):
        return "messages, each as below; ends after 15 minutes"
    if kind == "notification":
        return "202"
    masked = "identifiers masked" if method in SETTINGS["descriptive"] else "masked as the role's profile says"
    filtered = "filtered by `gateway/catalogue/decision`, " if method in LISTS else ""
    return filtered + masked


def _said(method: str) -> str:
    request = method in mcp.UPSTREAM_REQUESTS
    allowed = SETTINGS["from_upstream"]["requests" if request else "notifications"]
    told = "passed on" if method in allowed else "withheld"
    about = ABOUT.get(method, "")
    return f"| `{method}` | {'request' if request else 'notification'} | {told} | {about} |\n"
