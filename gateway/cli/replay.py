"""A recorded session as a person reads it: who, what was asked, what policy said, what was masked, what was returned.

Draws only. What the leaves say is free of PHI and always shown; bodies are shown when a way to open them is passed in,
which is `gateway.cli.sessions`' business and comes after the reading itself is on record.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import orjson
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.text import Text
from rich.tree import Tree

from gateway.cli.places import plain
from gateway.core.evidence.leaf import Leaf
from gateway.core.evidence.record import LeafType
from gateway.core.types import Document, Json

LINES = 24
"""Lines of one body that are shown; `--full` shows all."""

_WIDTH = 72

Open = Callable[[Leaf, str], bytes]
Badge = Callable[[Leaf], Text]
"""One sign: whether the leaf is proven to be in the signed log."""

_GREEN, _RED, _YELLOW = "green", "red", "yellow"
_COLOURS = {
    "allow": _GREEN, "replied": _GREEN, "accepted": _GREEN, "granted": _GREEN, "relayed": _GREEN, "joined": _GREEN,
    "kept": _GREEN, "spent": _GREEN, "deny": _RED, "refused": _RED, "withheld": _RED, "failed": _RED, "unknown": _RED,
    "expired": _YELLOW, "cancelled": _YELLOW, "pending": _YELLOW, "abandoned": _YELLOW, "require_approval": _YELLOW,
}  # fmt: skip
_TITLES = {
    "request": "asked",
    "input": "asked",
    "decision": "policy",
    "catalogue": "policy, on what may be seen",
    "manifest": "masked",
    "response": "returned",
    "message": "passed on",
    "messages": "passed on, one after the other",
    "justification": "justification",
    "reason": "reviewer's reason",
    "vote": "reviewer",
    "ask": "put to reviewers",
}


def session(leaves: Sequence[Leaf], *, badge: Badge, opened: Open | None, full: bool) -> RenderableType:
    """The whole session, exchange by exchange in the order in which they began."""
    parts: list[RenderableType] = [_header(leaves, opened)]
    exchanges: dict[str, list[Leaf]] = {}
    for leaf in leaves:
        if leaf.exchange is None and leaf.approval is None:
            continue
        exchanges.setdefault(_exchange_of(leaf, leaves), []).append(leaf)
    for number, found in enumerate(exchanges.values(), 1):
        parts.append(Text())
        parts.append(_exchange(number, found, badge, opened, full=full))
    closing = [leaf for leaf in leaves if leaf.type is LeafType.SESSION_CLOSE]
    parts.append(Text())
    parts.append(_closing(closing, badge))
    return Group(*parts)


def _header(leaves: Sequence[Leaf], opened: Open | None) -> RenderableType:
    first, last = leaves[0], leaves[-1]
    lines = [Text.assemble(("session  ", "dim"), (str(first.session), "bold cyan"))]
    person = _person(leaves, opened) if opened is not None else ""
    if person:
        lines.append(Text.assemble(("who      ", "dim"), person))
    names = {
        "actor": "actor" if person else "who",
        "client": "client",
        "upstream": "upstream",
        "era": "era",
        "version": "protocol",
    }
    for member, title in names.items():
        value = first.members.get(member)
        if isinstance(value, str):
            lines.append(Text.assemble((f"{title:<9}", "dim"), plain(value)))
    lines.append(Text.assemble((f"{'when':<9}", "dim"), f"{_moment(first)[:19]}Z  to  {_moment(last)[:19]}Z"))
    lines.append(Text.assemble((f"{'leaves':<9}", "dim"), f"{len(leaves)}, from {first.index} to {last.index}"))
    return Panel(Group(*lines), expand=False, border_style="cyan")


def _person(leaves: Sequence[Leaf], opened: Open) -> str:
    """The human behind the pseudonym, and the agent that acted: as policy was told; empty when it never was."""
    for leaf in leaves:
        if any(ref.name == "decision" for ref in leaf.bodies):
            match orjson.loads(opened(leaf, "decision")):
                case {"input": {"principal": {"sub": str(subject), "client": str(client), "groups": list(groups)}}}:
                    return plain(f"{subject} through {client}, {', '.join(map(str, groups)) or 'in no group'}")
    return ""


def _exchange_of(leaf: Leaf, leaves: Sequence[Leaf]) -> str:
    """The exchange that a leaf tells of; a reviewer's word belongs to the exchange that asked for it."""
    if leaf.exchange is not None:
        return leaf.exchange
    asked = (other.exchange for other in leaves if other.approval == leaf.approval and other.exchange is not None)
    return next(asked, str(leaf.approval))


def _exchange(number: int, leaves: list[Leaf], badge: Badge, opened: Open | None, *, full: bool) -> RenderableType:
    first, last = leaves[0], leaves[-1]
    method = plain(str(first.members.get("method", "")))
    tool = plain(str(first.members.get("tool", "")))
    title = Text.assemble(
        (f"{number}. ", "bold"), (f"{tool or method}", "bold"), (f"  {method}" if tool else "", "dim")
    )
    title.append("  ")
    title.append_text(_state(last))
    if first.exchange is not None:
        title.append(f"\nexchange {plain(first.exchange)}", style="dim")
    for approval in dict.fromkeys(leaf.approval for leaf in leaves if leaf.approval is not None):
        title.append(f"\napproval {plain(approval)}", style="dim")
    tree = Tree(title, guide_style="dim")
    for leaf in leaves:
        node = tree.add(_line(leaf, badge))
        if opened is not None:
            for ref in leaf.bodies:
                node.add(_body(ref.name, opened(leaf, ref.name), full=full))
    return tree


def _state(leaf: Leaf) -> Text:
    word = "unknown" if leaf.type is LeafType.EXCHANGE_UNKNOWN else str(_word(leaf))
    if leaf.type is LeafType.EXCHANGE_REFUSED:
        word = "refused"
    if leaf.type is LeafType.EXCHANGE_INTENT:
        word = "still running"
    return Text(plain(word), style=f"bold {_COLOURS.get(word, 'white')}")


def _word(leaf: Leaf) -> Json:
    return next((leaf.members[name] for name in ("status", "state", "effect", "why") if name in leaf.members), "")


def _line(leaf: Leaf, badge: Badge) -> Text:
    """One leaf on one line: proven, which, when, what, the word that matters, why, and what was masked."""
    kind = leaf.type.value.removeprefix("exchange.")
    text = Text.assemble(badge(leaf), (f" {leaf.index:>5}  {_moment(leaf)[11:23]}  ", "dim"), f"{kind:<17} ")
    word = str(_word(leaf))
    text.append(plain(word), style=_COLOURS.get(word, ""))
    effect, status = leaf.members.get("effect"), leaf.members.get("status")
    if status is not None and isinstance(effect, str) and effect != "allow":
        text.append(f", policy: {plain(effect)}", style=_COLOURS.get(effect, ""))
    if leaf.type is LeafType.EXCHANGE_MESSAGE and isinstance(leaf.members.get("count"), int):
        text.append(f"  {leaf.members['count']} messages")
    reasons = leaf.members.get("reasons")
    if isinstance(reasons, list) and reasons:
        text.append(f"  {plain(', '.join(map(str, reasons)))}", style="italic")
    masked = leaf.members.get("masked")
    if isinstance(masked, dict) and masked:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(masked.items()))
        text.append(f"  masked {plain(counts)}", style="magenta")
    return text


def _closing(closing: list[Leaf], badge: Badge) -> Text:
    if not closing:
        return Text("The session is still open.", style="dim")
    leaf = closing[-1]
    why, count = plain(str(leaf.members.get("why"))), leaf.members.get("exchanges")
    return Text.assemble(
        badge(leaf), (f" {leaf.index:>5}  Closed at {_moment(leaf)[:19]}Z ({why}) after {count} exchanges.", "dim")
    )


def _body(name: str, data: bytes, *, full: bool) -> RenderableType:
    title = Text(_TITLES.get(name, name), style="bold blue")
    try:
        value: Json = orjson.loads(b"[%s]" % data.replace(b"\n", b",") if name == "messages" else data)
    except orjson.JSONDecodeError:
        return Group(title, _cut(plain(data.decode("utf-8", "replace")), full=full))
    if name in ("decision", "catalogue") and isinstance(value, dict):
        return Group(title, _decision(value, full=full))
    if name == "manifest" and isinstance(value, dict) and not full:
        return Group(title, _manifest(value))
    return Group(title, _cut(_json(value), full=full))


def _decision(event: Document, *, full: bool) -> RenderableType:
    """What policy was told and what it said, out of an OPA decision-log event."""
    told, said = event.get("input"), event.get("result")
    if not full and isinstance(told, dict):  # The request stands above, and the rest of the input is long.
        told = {name: told[name] for name in ("phase", "principal", "facts", "profile", "approval") if told.get(name)}
    path, time = plain(str(event.get("path"))), plain(str(event.get("timestamp")))
    return Group(
        Text.assemble(("asked ", "dim"), path, ("  at ", "dim"), time),
        Text("was told", style="dim"),
        _cut(_json(told), full=full),
        Text("said", style="dim"),
        _cut(_json(said), full=full),
    )


def _manifest(manifest: Document) -> RenderableType:
    items = manifest.get("items")
    rows = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    if not rows:
        return _cut(_json(manifest), full=False)
    lines = [
        f"{row.get('class', '')}  {row.get('path', '')}  {row.get('operator', '')}  by {row.get('detector', '')}"
        for row in rows
    ]
    return _cut(plain("\n".join(lines)), full=False)


def _json(value: Json, indent: int = 0) -> str:
    """JSON for reading: whatever fits on a line is on one line."""
    line = plain(json.dumps(value, ensure_ascii=False))
    if len(line) + indent <= _WIDTH or not isinstance(value, dict | list):
        return line
    gap = "\n" + " " * (indent + 2)
    if isinstance(value, dict):
        parts = [f"{_json(name)}: {_json(member, indent + 2)}" for name, member in value.items()]
        return "{" + gap + f",{gap}".join(parts) + gap[:-2] + "}"
    return "[" + gap + f",{gap}".join(_json(item, indent + 2) for item in value) + gap[:-2] + "]"


def _cut(text: str, *, full: bool) -> RenderableType:
    lines = text.split("\n")
    if not full and len(lines) > LINES:
        text = "\n".join([*lines[:LINES], f"… {len(lines) - LINES} more lines (--full)"])
    return Padding(Text(text), (0, 0, 0, 2))


def _moment(leaf: Leaf) -> str:
    return plain(leaf.place.time)
