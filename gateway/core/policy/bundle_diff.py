"""What differs between two bundles, told as an author would: rules by package, data by path, manifest, signature."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from gateway.core.evidence import canonical
from gateway.core.policy import bundle as bundles
from gateway.core.policy import signature, structured
from gateway.core.policy.bundle import Bundle
from gateway.core.policy.syntax import Module
from gateway.core.types import Document, Json

K = TypeVar("K", bound="str | tuple[str, ...]")


class Change(Enum):
    """What became of one thing."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class RuleChange:
    """One rule, with all its definitions; `files` say where it is now, or was."""

    package: str
    rule: str
    change: Change
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ValueChange:
    """One value of the data, the manifest or the signature, at a slash path."""

    path: str
    change: Change
    before: Json
    after: Json


@dataclass(frozen=True, slots=True)
class BundleDiff:
    """Everything that differs. Rules whose text is the same are the same, wherever in a file they stand."""

    rules: tuple[RuleChange, ...]
    data: tuple[ValueChange, ...]
    manifest: tuple[ValueChange, ...]
    signature: tuple[ValueChange, ...]
    files: tuple[tuple[str, Change], ...]

    @property
    def same(self) -> bool:
        """Whether the bundles hold the same files."""
        return not self.files

    def document(self) -> Document:
        """For programs."""
        values = {"data": self.data, "manifest": self.manifest, "signature": self.signature}
        return {
            "same": self.same,
            "rules": [
                {"package": rule.package, "rule": rule.rule, "change": rule.change.value, "files": [*rule.files]}
                for rule in self.rules
            ],
            **{name: [_told(change) for change in changes] for name, changes in values.items()},
            "files": [{"path": path, "change": change.value} for path, change in self.files],
        }


def compare(before: Bundle, after: Bundle, parsed: tuple[tuple[Module, ...], tuple[Module, ...]]) -> BundleDiff:
    """What is different in `after`; `parsed` are the modules of each."""
    old, new = _rules(before, parsed[0]), _rules(after, parsed[1])
    return BundleDiff(
        rules=tuple(
            RuleChange(package, rule, change, (old if change is Change.REMOVED else new)[package, rule][1])
            for (package, rule), change in _changes(_texts(old), _texts(new))
        ),
        data=_values(before.data, after.data),
        manifest=_values(_manifest(before), _manifest(after)),
        signature=_values(_signature(before), _signature(after)),
        files=tuple(_changes(before.files, after.files)),
    )


def source_diff(before: Bundle, after: Bundle) -> Iterator[str]:
    """The lines of a unified diff of every file that differs and is text."""
    for path, _ in _changes(before.files, after.files):
        old, new = (_lines(bundle.files.get(path, b"")) for bundle in (before, after))
        yield from difflib.unified_diff(old, new, f"a/{path}", f"b/{path}", lineterm="")


def _lines(content: bytes) -> list[str]:
    return content.decode(errors="replace").splitlines()


_Rules = dict[tuple[str, str], tuple[tuple[str, ...], tuple[str, ...]]]


def _rules(bundle: Bundle, modules: tuple[Module, ...]) -> _Rules:
    """The texts of every rule's definitions, and the files that they are in."""
    texts = {source.path: source.text.splitlines() for source in bundle.sources}
    found: dict[tuple[str, str], tuple[list[str], set[str]]] = {}
    for module in modules:
        starts = sorted({rule.place.line for rule in module.rules})
        for rule in module.rules:
            end = next((start for start in starts if start > rule.place.line), len(texts[module.file]) + 1)
            name = ".".join(rule.path[len(module.package) :])
            held, files = found.setdefault((".".join(("data", *module.package)), name), ([], set()))
            held.append(_definition(texts[module.file][rule.place.line - 1 : end - 1]))
            files.add(module.file)
    return {key: (tuple(sorted(held)), tuple(sorted(files))) for key, (held, files) in found.items()}


def _definition(lines: list[str]) -> str:
    """Without the blank lines and comments at the end: those belong to the next definition."""
    while lines and lines[-1].strip().partition("#")[0] == "":
        lines = lines[:-1]
    return "\n".join(line.rstrip() for line in lines)


def _texts(rules: _Rules) -> dict[tuple[str, str], tuple[str, ...]]:
    return {key: texts for key, (texts, _) in rules.items()}


def _manifest(bundle: Bundle) -> Document:
    value = structured.decode(bundle.files.get(bundles.MANIFEST, b"{}"), bundles.MANIFEST)
    return value if isinstance(value, dict) else {}


def _signature(bundle: Bundle) -> Document:
    return signature.described(bundle.files) if bundle.is_signed else {}


def _values(before: Document, after: Document) -> tuple[ValueChange, ...]:
    old, new = _leaves(before), _leaves(after)
    changes = _changes(*({path: canonical.encode(value) for path, value in each.items()} for each in (old, new)))
    return tuple(ValueChange("/".join(path), change, old.get(path), new.get(path)) for path, change in changes)


def _leaves(document: Document) -> dict[tuple[str, ...], Json]:
    found: dict[tuple[str, ...], Json] = {}
    for path in bundles.leaves(document):
        value: Json = document
        for step in path:
            value = value[step] if isinstance(value, dict) else None
        found[path] = value
    return found


def _changes(before: Mapping[K, object], after: Mapping[K, object]) -> Iterator[tuple[K, Change]]:
    for key in sorted({*before, *after}, key=lambda key: (key,) if isinstance(key, str) else key):
        if key not in after:
            yield key, Change.REMOVED
        elif key not in before:
            yield key, Change.ADDED
        elif before[key] != after[key]:
            yield key, Change.CHANGED


def _told(change: ValueChange) -> Document:
    told: Document = {"path": change.path, "change": change.change.value}
    if change.change is not Change.ADDED:
        told["before"] = change.before
    if change.change is not Change.REMOVED:
        told["after"] = change.after
    return told
