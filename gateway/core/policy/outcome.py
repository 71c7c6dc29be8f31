"""What became of one test of a policy, in the shape that `opa test --format json` prints."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.core.policy.compare import Difference
from gateway.core.policy.syntax import Place
from gateway.core.types import Document, Json

PREFIXES = ("test_", "todo_test_")
"""How the name of a rule begins that is a test."""


@dataclass(frozen=True, slots=True)
class Halt:
    """The expression of a failing rule that did not hold. `values`: what its references stood for, each time it was
    tried; `[]` for undefined, else the value alone in an array."""

    line: int
    text: str
    values: tuple[Document, ...] = field(default=(), repr=False)

    @property
    def document(self) -> Document:
        return {"row": self.line, "text": self.text, "values": [*self.values]}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one test: a `test_` rule, or a case. `fault` is why it could not be run to its end."""

    package: str
    name: str
    file: str
    place: Place
    passed: bool
    skipped: bool = False
    fault: str = ""
    output: str = ""
    """What the test printed."""
    duration_ns: int = 0
    parts: tuple[tuple[tuple[str, ...], bool], ...] = ()
    """Of a rule with parameters (`test_x[note]`): each by its names, and whether it passed."""
    differences: tuple[Difference, ...] = ()
    """Of a case that failed."""
    reasons: tuple[str, ...] = ()
    """Of a case that failed: why the decision is what it is, as `code: message`."""
    halts: tuple[Halt, ...] = ()
    """Of a rule that failed: where, from the outside in (the body of an `every` comes behind its own line)."""

    @property
    def title(self) -> str:
        """What the test is called, and what `--run` looks in."""
        return title(self.package, self.name)

    @property
    def word(self) -> str:
        if self.skipped:
            return "SKIPPED"
        return "PASS" if self.passed else "ERROR" if self.fault else "FAIL"

    @property
    def document(self) -> Document:
        """As `opa test --format json` prints it; `differences`, `reasons` and `halts` are ours."""
        document: Document = {
            "location": {"file": self.file, "row": self.place.line, "col": self.place.column},
            "package": self.package,
            "name": self.name,
            "duration": self.duration_ns,
        }
        if self.skipped:
            document["skip"] = True
        elif self.fault:
            document["error"] = {"message": self.fault}
        elif not self.passed:
            document["fail"] = True
        if self.output:
            document["output"] = base64.b64encode(self.output.encode()).decode()
        if self.parts:
            document["sub_results"] = _nested(self.parts)
        if self.differences:
            document["differences"] = [difference.document for difference in self.differences]
        if self.reasons:
            document["reasons"] = [*self.reasons]
        if self.halts:
            document["halts"] = [halt.document for halt in self.halts]
        return document


def title(package: str, name: str) -> str:
    """`data.a_test.test_x` of a rule, `data.a: what it shows` of a case."""
    return f"{package}.{name}" if name.startswith(PREFIXES) else f"{package}: {name}"


def read(document: Document) -> Outcome:
    """The outcome that a `document` was made of. It is one of our own: raises KeyError and such for any other."""
    location, error = document["location"], document.get("error")
    assert isinstance(location, dict)
    return Outcome(
        package=str(document["package"]),
        name=str(document["name"]),
        file=str(location["file"]),
        place=Place(_integer(location["row"]), _integer(location["col"])),
        passed=not (document.get("fail") or document.get("skip") or error),
        skipped=document.get("skip") is True,
        fault=str(error["message"]) if isinstance(error, dict) else "",
        output=base64.b64decode(str(document.get("output", ""))).decode(),
        duration_ns=_integer(document["duration"]),
        parts=tuple(_flat(document.get("sub_results"), ())),
        differences=tuple(Difference.read(item) for item in _list(document.get("differences"))),
        reasons=tuple(str(reason) for reason in _list(document.get("reasons"))),
        halts=tuple(_halt(item) for item in _list(document.get("halts"))),
    )


def _halt(item: Json) -> Halt:
    assert isinstance(item, dict)
    values = tuple(value for value in _list(item["values"]) if isinstance(value, dict))
    return Halt(_integer(item["row"]), str(item["text"]), values)


def _nested(parts: Iterable[tuple[tuple[str, ...], bool]]) -> Document:
    """OPA's `sub_results`: an object a level."""
    whole: Document = {}
    for names, passed in parts:
        at = whole
        for depth, name in enumerate(names):
            entry = at.setdefault(name, {"name": name})
            assert isinstance(entry, dict)
            if not passed:
                entry["fail"] = True
            if depth < len(names) - 1:
                inner = entry.setdefault("sub_results", {})
                assert isinstance(inner, dict)
                at = inner
    return whole


def _flat(results: Json, names: tuple[str, ...]) -> Iterable[tuple[tuple[str, ...], bool]]:
    for name, entry in results.items() if isinstance(results, dict) else ():
        assert isinstance(entry, dict)
        if "sub_results" in entry:
            yield from _flat(entry["sub_results"], (*names, name))
        else:
            yield (*names, name), "fail" not in entry


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _integer(value: Json) -> int:
    assert isinstance(value, int)
    return value
