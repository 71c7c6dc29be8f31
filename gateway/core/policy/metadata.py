"""METADATA comments (OPA docs, Annotations), which the syntax tree leaves out: found above what they are about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.core.errors import PolicyFault
from gateway.core.policy import structured
from gateway.core.policy.bundle import Source
from gateway.core.types import Document

_PACKAGE = re.compile(r"package\s+([A-Za-z0-9_.]+)")
_RULE = re.compile(r"(?:default\s+)?([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)")


@dataclass(frozen=True, slots=True)
class Annotation:
    """One block, as OPA tells it; `scope` is filled in when the author left it out."""

    file: str
    line: int
    """Of what the block is about, from 1."""
    path: tuple[str, ...]
    """Package, and the rule's name when it is about a rule or document."""
    members: Document

    def document(self) -> Document:
        """In the shape of `opa inspect -a --format json`."""
        first: Document = {"type": "var", "value": "data"}
        rest: list[Document] = [{"type": "string", "value": step} for step in self.path]
        return {
            "annotations": self.members,
            "location": {"file": self.file, "row": self.line, "col": 1},
            "path": [first, *rest],
        }


def find(source: Source) -> Iterator[Annotation]:
    """The annotations in a source. Raises PolicyFault, with file and line, for a block that is not YAML."""
    lines = source.text.splitlines()
    match = next((found for line in lines if (found := _PACKAGE.match(line))), None)
    package = tuple(match[1].split(".")) if match else ()
    at = 0
    while at < len(lines):
        if re.fullmatch(r"#\s*METADATA\s*", lines[at]):
            end = at + 1
            while end < len(lines) and lines[end].startswith("#"):
                end += 1
            about = next((n for n in range(end, len(lines)) if lines[n].strip() and lines[n][0] != "#"), None)
            yield _annotation(source, lines, at, end, about if about is not None else at, package)
            at = end
        else:
            at += 1


def _annotation(
    source: Source, lines: list[str], start: int, end: int, about: int, package: tuple[str, ...]
) -> Annotation:
    # As many lines before it as in the source, so that a fault names the right one.
    text = "\n" * (start + 1) + "\n".join(line[1:].removeprefix(" ") for line in lines[start + 1 : end])
    name = f"{source.path}.yaml"  # The name says how to read it.
    try:
        members = structured.decode(text.encode(), name)
    except PolicyFault as fault:
        raise PolicyFault(fault.detail.replace(name, source.path, 1)) from None
    if not isinstance(members, dict):
        raise PolicyFault(f"{source.path}:{start + 1}: METADATA holds no members.")
    scope = members.get("scope") or ("package" if _PACKAGE.match(lines[about]) else "rule")
    rule = _RULE.match(lines[about]) if scope in ("rule", "document") else None
    path = (*package, *rule[1].split(".")) if rule else package
    return Annotation(source.path, about + 1, path, {**members, "scope": scope})
