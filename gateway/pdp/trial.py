"""What a bundle is tried on before it may decide: every sample, and inputs made from the schema around them.

Each must be answered by a decision that can be carried out, soon; and whoever asks nothing, or is nobody, must never
be allowed. Runs the bundle in this process, so for a child of admission only.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import orjson

from gateway.core.errors import MaskFault
from gateway.core.masking import plan
from gateway.core.policy import decision, generate, samples
from gateway.core.policy.bundle import Bundle
from gateway.core.policy.decision import Decision, Effect, Entrypoint
from gateway.core.types import Document, Json
from gateway.pdp.engine import load, reraise
from gateway.pdp.schemas import schema

MIXES = 30
"""Inputs that differ in several things at once, around each sample that is tried so."""
LARGEST = 2
STRIPPED = 10
"""How many allowed inputs of each entrypoint are asked again without what a decision must depend on."""

_SOMETHING: Document = {"content": [{"type": "text", "text": "SSN 123-45-6789"}]}
"""For a mask plan to be tried on."""
_WORD = re.compile(r'"([^"\\\s]{1,64})"')
_DEFINITIONS = {each: "result_input" if each is Entrypoint.RESULT else each.name.lower() for each in Entrypoint}
_NEEDED = {
    Entrypoint.CALL: ("principal", "message"),
    Entrypoint.RESULT: ("principal", "result"),
    Entrypoint.CATALOGUE: ("principal",),
    Entrypoint.APPROVAL: ("principal", "approval"),
    Entrypoint.ACCESS: ("principal", "access"),
}
"""What an input must have for anything to be allowed on it: who asks, and for what."""


class _Wrong(Exception):
    """What is wrong with an answer, as a sentence."""


def faults_of(bundle: Bundle, *, decision_s: float) -> list[str]:
    """Why `bundle` may not decide, at most one reason for each entrypoint; empty when it may.

    `decision_s` is the CPU time that one decision may take. Raises PolicyFault when the sources do not parse.
    """
    trial = _Trial(bundle, decision_s)
    found = []
    for entrypoint in Entrypoint:
        try:
            trial.run(entrypoint)
        except _Wrong as wrong:
            found.append(f"{entrypoint.value} {wrong}")
    return found


class _Trial:
    def __init__(self, bundle: Bundle, decision_s: float) -> None:
        sources = tuple(source for source in bundle.sources if not source.is_test)
        self._engine = load(sources, bundle.data)
        self._decision_s = decision_s
        self._samples: dict[Entrypoint, list[Document]] = {entrypoint: [] for entrypoint in Entrypoint}
        for entrypoint, document in samples.samples():
            self._samples[entrypoint].append(document)
        literals = (word for source in sources for word in _WORD.findall(source.text))
        examples = (document for documents in self._samples.values() for document in documents)
        self._known = generate.vocabulary(bundle.data, literals, examples)
        self._decisions: dict[tuple[Entrypoint, str], Decision] = {}

    def run(self, entrypoint: Entrypoint) -> None:
        """Try one entrypoint. Raises _Wrong with the first thing that is wrong with it."""
        bases: dict[Effect, Document] = {}
        for document in sorted(self._samples[entrypoint], key=lambda each: len(orjson.dumps(each))):
            bases.setdefault(self._ask(entrypoint, document, "a sample input").effect, document)
        if len(bases) > 1:  # Around what is denied nearly everything is, for the same reason.
            bases.pop(Effect.DENY, None)
        allowed: list[Document] = []
        for base in bases.values():
            for document in self._around(entrypoint, base):
                if self._ask(entrypoint, document, _Made(base, document)).effect is Effect.ALLOW:
                    allowed.append(document)
        for document in islice(allowed, 0, None, max(1, len(allowed) // STRIPPED)):
            self._strip(entrypoint, document)

    def _around(self, entrypoint: Entrypoint, base: Document) -> Iterator[Document]:
        """Inputs near `base`, each once, and the largest like it."""
        inputs, name = schema("input"), _DEFINITIONS[entrypoint]
        seen: set[bytes] = set()
        for document in generate.inputs(inputs, name, self._known, base=base, seed=name, mixes=MIXES):
            text = orjson.dumps(document)
            if text not in seen:
                seen.add(text)
                yield document
        yield from generate.largest(inputs, name, self._known, base=base, seed=name, count=LARGEST)

    def _strip(self, entrypoint: Entrypoint, document: Document) -> None:
        for member in _NEEDED[entrypoint]:
            rest: Document = {key: value for key, value in document.items() if key != member}
            for stripped in (rest, {**rest, member: None}, {**rest, member: {}}):
                answer = self._answer(entrypoint, stripped)
                result = _json(answer) if answer is not None else None
                if decision.decode(entrypoint, result).effect is Effect.ALLOW:
                    raise _Wrong(
                        f"allows an input without its `{member}`: let what is allowed depend on `input.{member}`."
                    )

    def _ask(self, entrypoint: Entrypoint, document: Document, where: object) -> Decision:
        """The decision on one input, called `where` in words.

        Raises _Wrong when there is none, or it comes late or cannot be carried out.
        """
        cost = float("inf")
        answer = ""
        for _ in range(3):  # The first pays for compilation; a busy machine may slow one, hardly three.
            began = time.thread_time()
            try:
                answer = self._evaluate(entrypoint, document)
            except BaseException as raised:  # A Rust panic derives from BaseException; `reraise` lets the rest through.
                raise _Wrong(f"fails on {where}: {reraise(raised)}") from None
            cost = min(cost, time.thread_time() - began)
            if cost <= self._decision_s:
                break
        else:
            most = self._decision_s * 1000
            raise _Wrong(f"needs {cost * 1000:.0f} ms for {where}; {most:.0f} ms is the most.")
        return self._read(entrypoint, answer, where)

    def _answer(self, entrypoint: Entrypoint, document: Document) -> str | None:
        """What is answered to an input that is none; no answer is as good as a denial."""
        try:
            return self._evaluate(entrypoint, document)
        except BaseException as raised:  # As above.
            reraise(raised)
            return None

    def _evaluate(self, entrypoint: Entrypoint, document: Document) -> str:
        self._engine.set_input_json(orjson.dumps(document).decode())
        return self._engine.eval_rule_as_json("data." + entrypoint.value.replace("/", "."))

    def _read(self, entrypoint: Entrypoint, answer: str, where: object) -> Decision:
        key = (entrypoint, answer)
        if key not in self._decisions:
            decided = decision.decode(entrypoint, _json(answer))
            if decided.reasons and decided.reasons[0].code == "policy_malformed":
                raise _Wrong(f"answers {where} wrongly: {decided.reasons[0].message}")
            try:
                plan.apply(_SOMETHING, decided.mask, key=bytes(32), schema=None)
            except MaskFault as fault:
                raise _Wrong(f"answers {where} with a mask that cannot be carried out: {fault.detail}") from None
            self._decisions[key] = decided
        return self._decisions[key]


def _json(answer: str) -> Json:
    try:
        read: Json = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return None
    return read


@dataclass(frozen=True, slots=True)
class _Made:
    """What a made input is called by whoever is to find the rule that minds; put into words when somebody is."""

    base: Document
    """The sample that it was made from."""
    document: Document

    def __str__(self) -> str:
        told = list(islice(_changes(self.base, self.document, "input"), 4))
        with_ = f", with {'; '.join(told[:3])}{' …' if len(told) > 3 else ''}" if told else ""
        return f"an input like the samples{with_}"


def _changes(base: Json, other: Json, place: str) -> Iterator[str]:
    if isinstance(base, dict) and isinstance(other, dict):
        for key in dict.fromkeys((*base, *other)):
            if key not in other:
                yield f"no {place}.{key}"
            elif key not in base:
                yield f"{place}.{key} = {_short(other[key])}"
            else:
                yield from _changes(base[key], other[key], f"{place}.{key}")
    elif base != other or type(base) is not type(other):
        yield f"{place} = {_short(other)}"


def _short(value: Json) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= 60 else f"{text[:60]}…"
