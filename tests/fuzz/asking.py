"""What the fuzzer asks, what its upstream says to that, and what must be true of every answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from hypothesis import strategies as st

from gateway.core.protocol import mcp
from tests.fuzz import grammar, parts
from tests.fuzz.grammar import IDENT, LEGACY, MODERN, TOKEN, called, encoded, mutated, spoiled
from tests.fuzz.parts import MARK, SSN, Answer, Header, House, Question, Script
from tests.upstream.wires import Asked

WHO = "analyst"
STATUS = frozenset({200, 202, 204, 400, 401, 403, 404, 405, 406, 413, 415, 502})
"""Every status that a client or an upstream can bring about; 500 and 503 say that the gateway is at fault."""
UPSTREAMS = ("legacy", "modern")
GOOD: Script = lambda asked: _sent(200, b"application/json", encoded(_filled(_proper(asked), asked)))  # noqa: E731
JSON_TYPE, STREAM_TYPE = b"application/json", b"text/event-stream"


HOST, TOKEN_, SESSION = b"$host", b"$token", b"$session-%s"
HEADERS: tuple[Header, ...] = (
    (b"host", HOST),
    (b"authorization", b"Bearer " + TOKEN_),
    (b"content-type", JSON_TYPE),
    (b"accept", b"application/json, text/event-stream"),
)


@dataclass
class Person:
    """Who asks, and the legacy sessions that are theirs, by upstream."""

    house: House
    token: str
    sessions: dict[str, str] = field(default_factory=dict)

    def greet(self, upstream: str) -> None:
        """Begin a legacy session."""
        body = encoded(called("initialize", modern=False))
        said = self.house.ask(Question("POST", f"/mcp/{upstream}", self.headers(), (body,)), GOOD)
        assert said.status == 200, said
        self.sessions[upstream] = said.headers[b"mcp-session-id"].decode()

    def headers(self) -> tuple[Header, ...]:
        """Those of a well-behaved client."""
        return tuple((name, self.known(value)) for name, value in HEADERS)

    def known(self, value: bytes) -> bytes:
        """A header's value with what this run knows in the place of what stands for it."""
        known = {HOST: f"127.0.0.1:{self.house.place.port}", TOKEN_: self.token}
        known |= {SESSION % name.encode(): session for name, session in self.sessions.items()}
        for name, text in known.items():
            value = value.replace(name, text.encode())
        return value

    def ask(self, question: Question, script: Script) -> Answer:
        """The answer to one request; a session that it ends is begun anew."""
        headers = tuple((name, self.known(value)) for name, value in question.headers)
        answer = self.house.ask(replace(question, headers=headers), script)
        if question.method == "DELETE" and answer.status == 204:
            for upstream in UPSTREAMS:
                self.greet(upstream)
        return answer


def arrive(house: House) -> Person:
    """Somebody with a session at each upstream."""
    person = Person(house, house.place.issuer.token(WHO, [parts.GROUP]))
    for upstream in UPSTREAMS:
        person.greet(upstream)
    return person


@st.composite
def questions(draw: Callable[..., Any], *, unspoiled: bool = False) -> Question:
    """A client's request. `unspoiled`: as it should be, to find out what becomes of the answer."""
    modern, upstream = draw(st.booleans()), draw(st.sampled_from(UPSTREAMS))
    method = draw(st.one_of(st.sampled_from(grammar.OFTEN), st.sampled_from(grammar.CALLED)))
    good = called(method, modern=modern, ident=draw(st.sampled_from([7, "a", MARK])))
    headers = (*HEADERS, *_era_headers(upstream, method, modern=modern))
    path = f"/mcp/{upstream}"
    if unspoiled:
        return Question("POST", path, headers, (encoded(good),))
    document = draw(mutated(st.just(good)))
    data = draw(spoiled())(encoded(draw(st.sampled_from([document] * 9 + [[document]]))))
    cut = draw(st.integers(0, len(data)))
    return Question(
        draw(st.sampled_from(["POST"] * 12 + ["GET", "DELETE", "PUT", "HEAD"])),
        draw(st.sampled_from([path] * 12 + [f"{path}/", f"{path}?access_token={MARK}", f"/mcp/{MARK}", "/mcp/"])),
        draw(_other_headers(headers)),
        (data[:cut], data[cut:]) if draw(st.booleans()) else (data,),
        hangs_up=draw(st.sampled_from([False] * 12 + [True])),
    )


def _era_headers(upstream: str, method: str, *, modern: bool) -> list[Header]:
    if not modern:
        session = [] if method == mcp.INITIALIZE else [(b"mcp-session-id", SESSION % upstream.encode())]
        return [*session, (b"mcp-protocol-version", LEGACY.encode())]
    named = grammar.PARAMS.get(method, {}).get(mcp.NAMED.get(method, ""))
    name = [(b"mcp-name", named.encode())] if isinstance(named, str) else []
    return [(b"mcp-protocol-version", MODERN.encode()), (b"mcp-method", method.encode()), *name]


VALUES = [
    b"", b" ", MARK.encode(), b"\xff\xfe", b"=?base64?x?=", b"=?base64?////?=", MODERN.encode(), LEGACY.encode(),
    b"2024-11-05", b"2099-01-01", b"*/*", b"text/html", b"application/json;charset=utf-16", b"https://evil.example",
    b"tools/call", b"read",
]  # fmt: skip
NAMES = [
    b"host", b"authorization", b"content-type", b"accept", b"origin", b"mcp-session-id", b"mcp-protocol-version",
    b"mcp-method", b"mcp-name", b"mcp-param-region", b"last-event-id", b"traceparent",
]  # fmt: skip


@st.composite
def _other_headers(draw: Callable[..., Any], headers: tuple[Header, ...]) -> tuple[Header, ...]:
    changed = list(headers)
    values = [*VALUES, *(SESSION % upstream.encode() for upstream in UPSTREAMS)]
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, len(changed) - 1)) if changed else 0
        match draw(st.sampled_from(["drop", "other", "twice", "more", "flip"])):
            case "more":
                changed.append((draw(st.sampled_from(NAMES)), draw(st.sampled_from(values))))
            case _ if not changed:
                continue
            case "drop":
                del changed[at]
            case "other":
                changed[at] = (changed[at][0], draw(st.sampled_from(values)))
            case "twice":
                changed.append(changed[at])
            case _:
                name, value = changed[at]
                place = draw(st.integers(0, max(len(value) - 1, 0)))
                changed[at] = (name, value[:place] + b"A" + value[place + 1 :])
    return tuple(changed)


@st.composite
def scripts(draw: Callable[..., Any], method: str) -> Script:
    """What the upstream says to a request of `method`: messages and then an answer, on a wire that may be odd too."""
    ahead = draw(st.lists(mutated(st.sampled_from(grammar.SAID), most=2), max_size=2))
    answers = draw(st.lists(mutated(grammar.answered(method)), min_size=0 if ahead else 1, max_size=2))
    spoil = draw(spoiled())
    stream = draw(st.sampled_from([bool(ahead), bool(ahead), bool(ahead), not ahead]))
    status = draw(st.sampled_from([200] * 8 + [202, 400, 404, 401, 500, 307, 204]))
    kind = draw(
        st.sampled_from([STREAM_TYPE if stream else JSON_TYPE] * 8 + [b"text/html", b"", b"application/json;x"])
    )
    framing = (
        draw(st.sampled_from([b"\n", b"\r\n", b"\r"])),
        draw(st.sampled_from([b"", b"id: 5\n", b"event: x\n", b": c\n"])),
    )
    whole = draw(st.sampled_from([True] * 6 + [False]))
    extra = draw(
        st.sampled_from([b""] * 6 + [b"Mcp-Session-Id: up\r\n", b"Mcp-Session-Id: \xff\r\n", b"Location: /x\r\n"])
    )

    def script(asked: Asked) -> Sequence[bytes]:
        documents = [_filled(each, asked) for each in [*ahead, *answers]]
        texts = [spoil(encoded(each)) for each in documents]
        body = b"".join(_event(text, *framing) for text in texts) if stream else b"".join(texts)
        return _sent(status, kind, body, extra, whole=whole)

    return script


def _event(text: bytes, newline: bytes, field_: bytes) -> bytes:
    return (field_ + b"data: " + text + b"\n\n").replace(b"\n", newline)


def _sent(status: int, kind: bytes, body: bytes, extra: bytes = b"", *, whole: bool = True) -> list[bytes]:
    head = b"HTTP/1.1 %d X\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s\r\n" % (status, kind, len(body), extra)
    return [head, body, *([] if whole else [b""])] if whole else [head, body[: len(body) // 2], b""]


def _proper(asked: Asked) -> Any:
    result = grammar.RESULTS.get(_asked(asked).get("method", ""), {**grammar.TEXT, "resultType": "complete"})
    return {"jsonrpc": "2.0", "id": IDENT, "result": result}


def _filled(document: Any, asked: Asked) -> Any:
    """A document with what the request had where the upstream repeats it."""
    message = _asked(asked)
    match message:
        case {"params": {"_meta": {"progressToken": token}}}:
            known = {IDENT: message.get("id"), TOKEN: token}
        case _:
            known = {IDENT: message.get("id"), TOKEN: 1}
    return _replaced(deepcopy(document), known)


def _asked(asked: Asked) -> dict[str, Any]:
    """The message of a request; empty where it has none."""
    return dict(json.loads(asked.body)) if asked.body else {}


def _replaced(value: Any, known: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(each, known) for key, each in value.items()}
    if isinstance(value, list):
        return [_replaced(each, known) for each in value]
    return known.get(value, value) if isinstance(value, str) else value


def check(question: Question, answer: Answer, *, leaks: str = SSN) -> None:
    """What must hold of the answer to anything."""
    assert question.stands or not answer.left, "it never ended"
    assert answer.over or answer.left or question.hangs_up, "it ended without its end"
    assert answer.status in STATUS or not answer.over, answer
    assert leaks.encode() not in answer.body, "what is masked got out"
    if question.method == "HEAD" or not answer.body:
        return
    messages = answer.messages()
    for message in messages:
        assert message["jsonrpc"] == "2.0"
        assert ("method" in message) + ("result" in message) + ("error" in message) == 1
        assert not _internal(message), "a bug of ours"
    if answer.status == 200 and (asked := _ident(question)) is not None:
        assert messages[-1].get("id", asked) == asked
        assert type(messages[-1].get("id", asked)) is type(asked)


def _ident(question: Question) -> Any:
    """The id of the request, where it is one and can be read."""
    try:
        document = orjson.loads(b"".join(question.body))
    except orjson.JSONDecodeError:
        return None
    ident = document.get("id") if isinstance(document, dict) else None
    return ident if type(ident) in (str, int) else None


def _internal(message: dict[str, Any]) -> bool:
    match message:
        case {"error": {"data": {"code": "internal" | "unrecorded"}}}:
            return True
    return False
