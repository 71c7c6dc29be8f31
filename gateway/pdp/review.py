"""What `phigate policy check` finds in sources: the lint's findings, and what the engine itself cannot read.

The engine may need for ever for what it parses, or crash; `review` therefore works in a child that can be killed.
"""

from __future__ import annotations

import re
from typing import cast

import orjson

from gateway.core.errors import PolicyFault
from gateway.core.policy import lint
from gateway.core.policy.bundle import Manifest, Source
from gateway.core.policy.lint import Finding, Schemas, Severity
from gateway.core.policy.lint.text import REFUSED, UNPARSABLE
from gateway.core.policy.syntax import Place
from gateway.core.types import Document, Json
from gateway.pdp import child
from gateway.pdp.engine import load, reraise

WALL_S = 30.0

_TOLD = re.compile(r"(.+?):(\d+):(\d+): (.*)", re.DOTALL)
"""As `reraise` has it."""


def review(sources: tuple[Source, ...], data: Document, manifest: Manifest, schemas: Schemas) -> list[Finding]:
    """Every finding, in order of file and line. Raises PolicyFault when the child crashed or was too late."""
    asked = {
        "sources": [[source.path, source.text] for source in sources],
        "data": data,
        "roots": list(manifest.roots),
        "input": schemas.input,
        "settings": schemas.settings,
    }
    told: Json = orjson.loads(child.run(answer, orjson.dumps(asked), wall_s=WALL_S))
    return [_finding(item) for item in told] if isinstance(told, list) else []


def answer(asked: bytes) -> bytes:
    """In the child: the findings as a JSON array."""
    given = orjson.loads(asked)
    found = findings(
        tuple(Source(path, text) for path, text in given["sources"]),
        given["data"],
        Manifest(roots=tuple(given["roots"])),
        Schemas(given["input"], given["settings"]),
    )
    return orjson.dumps(
        [
            [one.rule, one.file, one.place.line, one.place.column, one.reason, one.fix, one.severity.value]
            for one in found
        ]
    )


def findings(sources: tuple[Source, ...], data: Document, manifest: Manifest, schemas: Schemas) -> list[Finding]:
    """What `review` finds, in this process."""
    found = lint.unparsed(sources) or [one for source in sources for one in _unparsable(source)]
    if found:
        return found
    engine = load(sources, {})
    found = lint.review(orjson.loads(engine.get_ast_as_json()), data, manifest, schemas)
    if all(one.severity is Severity.WARNING for one in found):
        try:
            engine.eval_query_as_json("true")  # Asks no rule, but makes the engine put all statements in order.
        except BaseException as fault:  # A Rust panic derives from BaseException; `reraise` lets the rest through.
            file, place, said = _located(reraise(fault), sources)
            found.append(Finding(REFUSED.name, file, place, f"The engine refuses this: {said}", REFUSED.fix))
    return found


def _unparsable(source: Source) -> list[Finding]:
    try:
        load((source,), {})
    except PolicyFault as fault:
        file, place, said = _located(fault.detail, (source,))
        return [Finding(UNPARSABLE.name, file, place, f"The engine cannot read this: {said}", UNPARSABLE.fix)]
    return []


def _located(text: str, sources: tuple[Source, ...]) -> tuple[str, Place, str]:
    """The file, the place and the sentence of an engine's error; the first source where it says none."""
    told = _TOLD.fullmatch(text)
    lines = {source.path: source.text.split("\n") for source in sources}
    if told is None or told[1] not in lines:
        return sources[0].path, Place(1, 1), _sentence(text)
    return told[1], lint.in_characters(Place(int(told[2]), int(told[3])), lines[told[1]]), _sentence(told[4])


def _sentence(text: str) -> str:
    return text.rstrip(".") + "."


def _finding(item: Json) -> Finding:
    rule, file, line, column, reason, fix, severity = cast(tuple[str, str, int, int, str, str, str], item)
    return Finding(rule, file, Place(line, column), reason, fix, Severity(severity))
