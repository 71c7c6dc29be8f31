"""The policy decision point: one Rego engine, asked one question at a time, that always answers.

The only file that imports regorus. What it guards against is listed in docs/policies.md ("The engine"): Rust panics
are no `Exception`, an undefined rule comes back as a bare word, and `set_input` with a Python object can kill the
process, so input goes in as the very JSON text that evidence keeps. An engine belongs to the thread that built it: no
other can free it, and what the collector finds of engines on another thread stays in memory for ever.
"""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import count
from typing import Protocol, Self, cast

import orjson

from gateway.core.commands import Decided
from gateway.core.errors import PolicyFault
from gateway.core.evidence.used import Window, windows
from gateway.core.policy import decision
from gateway.core.policy.bundle import Bundle, Source
from gateway.core.policy.decision import Decision, Entrypoint
from gateway.core.types import Digest, Document, Json

# Before the import: with backtraces on, regorus captures one for each internal error it recovers from, which doubles
# the cost of a decision and puts stack traces into its error texts.
os.environ["RUST_BACKTRACE"] = "0"
os.environ["RUST_LIB_BACKTRACE"] = "0"
import regorus

DEADLINE_S = 0.25
"""A decision that took longer is a denial: nobody can tell a slow policy from one that is being abused."""

_UNDEFINED = "<undefined>"
_CANONICAL = orjson.OPT_SORT_KEYS
_RECALLED_MAX = 16_384
"""Characters of an answer that is kept for when it comes again; 256 are."""


class Rego(Protocol):
    """What we use of `regorus.Engine`."""

    def clone(self) -> Rego: ...
    def add_policy(self, path: str, rego: str) -> str: ...
    def add_data_json(self, data: str) -> None: ...
    def set_input_json(self, input: str) -> None: ...
    def eval_rule_as_json(self, rule: str) -> str: ...
    def eval_query_as_json(self, query: str) -> str: ...
    def get_ast_as_json(self) -> str: ...
    def set_gather_prints(self, b: bool) -> None: ...
    def take_prints(self) -> list[str]: ...


def windows_of(bundle: Bundle) -> tuple[Window, ...]:
    """The windows of time for which the policy has budgets. Raises PolicyFault when they cannot be counted."""
    try:
        return windows(bundle.data)
    except ValueError as fault:
        raise PolicyFault(f"The budgets of this policy cannot be counted: {fault}.") from None


_WHERE = re.compile(r"--> (.+:\d+:\d+)$", re.MULTILINE)
_SAID = re.compile(r"^error: (.+)", re.MULTILINE | re.DOTALL)


def load(sources: tuple[Source, ...], data: Document) -> Rego:
    """An engine with these sources and base data. Raises PolicyFault, where they do not parse."""
    engine = cast(Rego, regorus.Engine())
    try:
        for source in sources:
            engine.add_policy(source.path, source.text)
        engine.add_data_json(orjson.dumps(data).decode())
    except BaseException as fault:  # A Rust panic derives from BaseException; `reraise` lets the rest through.
        detail = reraise(fault)
    else:
        return engine
    # An engine may only be freed by the thread that made it. Left in this frame, it would live as long as the fault's
    # traceback, and whichever thread collects that garbage would be the wrong one.
    del engine
    raise PolicyFault(detail)


def reraise(fault: BaseException) -> str:
    """What an engine's error or panic says, in a line that begins with file:line:column where it knows them.

    Whatever else was caught with it is raised on.
    """
    if not isinstance(fault, RuntimeError) and type(fault).__name__ != "PanicException":
        raise fault
    text = str(fault)
    where, said = _WHERE.search(text), _SAID.search(text)
    # One error may hold another with a drawing of its own: what comes first is enough.
    line = " ".join((said.group(1).split("-->")[0] if said is not None else text).split())
    line = "something else is expected here" if line == "expecting" else line  # Of a query it does not say what.
    return line if where is None else f"{where.group(1)}: {line}"


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the engine gave: the decision read from it, its canonical JSON, and what went wrong on the way."""

    decision: Decision
    text: bytes = field(default=b"", repr=False)
    fault: str = field(default="", repr=False)
    """Why there is no usable answer; an engine's error can quote its input, so this is as sealed as the event."""


def _read(entrypoint: Entrypoint, text: str) -> _Answer:
    """What the engine's words mean. The words alone decide, whichever bundle they are from."""
    try:
        result: Json = orjson.loads(text)
    except orjson.JSONDecodeError:
        malformed = decision.deny("policy_malformed", "The policy's answer is not JSON.", rule=entrypoint.value)
        return _Answer(malformed, fault="not JSON")
    if result == _UNDEFINED:
        undefined = decision.deny("policy_undefined", "The policy gave no answer.", rule=entrypoint.value)
        return _Answer(undefined, fault="undefined")
    return _Answer(decision.decode(entrypoint, result), orjson.dumps(result, option=_CANONICAL))


class _Question:
    """What asking one entrypoint takes, put together once."""

    __slots__ = ("entrypoint", "path", "read", "recall", "rule")

    def __init__(self, entrypoint: Entrypoint) -> None:
        self.entrypoint = entrypoint
        self.rule = "data." + entrypoint.value.replace("/", ".")
        self.path = b'},"nd_builtin_cache":{},"path":"' + entrypoint.value.encode() + b'"'
        """As the decision log has it, between its metrics and the result."""
        self.read: Callable[[str], _Answer] = partial(_read, entrypoint)
        self.recall: Callable[[str], _Answer] = lru_cache(maxsize=256)(self.read)
        """Policies have few answers and give them again and again; reading one costs as much as a small policy."""


class Pdp:
    """Decides with one bundle, on the thread that made it, until that closes it: as a block (`with`), or by `close`."""

    def __init__(self, bundle: Bundle, *, deadline_s: float = DEADLINE_S) -> None:
        """Load `bundle` and answer every entrypoint once, so that the first real call does not pay for compilation.

        Raises PolicyFault when the bundle does not parse.
        """
        self.bundle: Digest = bundle.digest
        self.revision: str = bundle.manifest.revision
        self.windows = windows_of(bundle)
        """The windows of time for which the policy has budgets."""
        self._deadline_ns = int(deadline_s * 1e9)
        # Of the ids of decisions all but the end is drawn once: the end is counted.
        drawn = str(uuid.uuid4())[:24].encode()
        bundles = orjson.dumps({bundle.name: {"revision": self.revision}})
        self._head = b'{"bundles":' + bundles + b',"decision_id":"' + drawn
        self._numbers = count()
        # Each rule that is loaded makes every decision a little slower; the lint sees to it that none needs a test's.
        self._fresh = load(tuple(source for source in bundle.sources if not source.is_test), bundle.data)
        self._engine = self._fresh.clone()
        self._questions = {entrypoint: _Question(entrypoint) for entrypoint in Entrypoint}
        self._at = ""
        self._answered: dict[tuple[Entrypoint, bytes], _Answer] = {}
        """What was asked at that time: messages that come together often ask the very same. The lint refuses what would
        answer differently when asked again (core/policy/lint/engine.py)."""
        for question in self._questions.values():
            self._evaluate(question, b"{}")
        self._fresh = self._engine.clone()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the engine here and now, whoever still holds this PDP: once, and nothing is decided with it any more."""
        del self._engine, self._fresh

    def decide(self, entrypoint: Entrypoint, document: Document, *, at: str) -> Decided:
        """Ask the entrypoint about `document`, at the time `at` (RFC 3339). Always answers, at worst with a denial."""
        began = time.perf_counter_ns()
        question = self._questions[entrypoint]
        try:
            asked = orjson.dumps({**document, "time": at}, option=_CANONICAL)
        except (TypeError, RecursionError):  # A lone surrogate, an integer beyond 64 bits, too deep: none has a text.
            unreadable = decision.deny("policy_input", "The call holds a value that policy cannot be shown.")
            answer = _Answer(unreadable, fault="it has no JSON text")
            return self._decided(question, answer, b"null", at, time.perf_counter_ns() - began)
        if at != self._at:
            self._at, self._answered = at, {}
        known = self._answered.get((entrypoint, asked))
        if known is not None:
            return self._decided(question, known, asked, at, time.perf_counter_ns() - began)
        answer = self._evaluate(question, asked)
        took_ns = time.perf_counter_ns() - began
        if took_ns > self._deadline_ns:
            slow = decision.deny("policy_slow", "The policy took longer than it may; nothing is allowed that way.")
            answer = replace(answer, decision=slow, fault="slower than its deadline")
        if not answer.fault:
            self._answered[entrypoint, asked] = answer
        return self._decided(question, answer, asked, at, took_ns)

    def answer(self, entrypoint: Entrypoint, asked: bytes) -> bytes:
        """The canonical JSON that the entrypoint answers to a recorded input; empty when it gives no answer.

        This is what replay compares: the same bundle and input give the same bytes.
        """
        return self._evaluate(self._questions[entrypoint], asked).text

    def _evaluate(self, question: _Question, asked: bytes) -> _Answer:
        try:
            self._engine.set_input_json(asked.decode())
            text = self._engine.eval_rule_as_json(question.rule)
        except BaseException as fault:  # A Rust panic derives from BaseException; `reraise` lets the rest through.
            why = reraise(fault)
            # After a panic the engine takes every rule that was under way for one that depends on itself.
            self._engine = self._fresh.clone()
            rule = question.entrypoint.value
            return _Answer(decision.deny("policy_error", "The policy failed while deciding.", rule=rule), fault=why)
        return question.recall(text) if len(text) <= _RECALLED_MAX else question.read(text)

    def _decided(self, question: _Question, answer: _Answer, asked: bytes, at: str, took_ns: int) -> Decided:
        """The decision with its event, in the field names of OPA's decision log (EventV1)."""
        event = b"".join(
            (
                self._head,
                b'%012x"' % next(self._numbers),
                b',"error":' + orjson.dumps(_error(answer)) if answer.fault else b"",
                b',"input":',
                asked,
                b',"metrics":{"timer_rego_query_eval_ns":%d' % took_ns,
                question.path,
                b',"result":' if answer.text else b"",
                answer.text,
                b',"timestamp":',
                orjson.dumps(at),
                b"}",
            )
        )
        return Decided(answer.decision, event, self.bundle)


def _error(answer: _Answer) -> Document:
    return {"code": answer.decision.reasons[0].code, "message": answer.fault}
