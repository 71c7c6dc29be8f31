"""Why a policy answered as it did, as a tree: from the rule that was asked down to the expressions that decided.

Draws what `gateway.pdp.explain` found. `notes` shows what the answer follows from, `fails` the definitions that did
not hold, `full` every rule and definition, also those that the engine never came to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from gateway.cli.places import plain

VIEWS = ("notes", "fails", "full")

_WIDTH = 88
_VALUES = 4
"""Names told for one expression."""

Rule = dict[str, Any]


@dataclass(slots=True)
class _Drawing:
    """The rules by name, and which of them were drawn already."""

    rules: dict[str, Rule]
    view: str
    drawn: set[str] = field(default_factory=set)


def trees(explanation: list[Any], view: str) -> RenderableType:
    """The rules that the query itself names, each with what it follows from below it."""
    rules = {rule["rule"]: rule for rule in explanation}
    drawing = _Drawing(rules, view)
    used = {use for rule in explanation for definition in rule["definitions"] for use in _uses(definition)}
    roots = [name for name in rules if name not in used] or list(rules)[:1]
    drawn = [_rule(drawing, rules[name]) for name in roots]
    return Group(*(tree for tree in drawn if tree is not None), _legend())


def _uses(definition: Rule) -> Iterator[str]:
    for body in definition["bodies"]:
        yield from body["uses"]


def _legend() -> Text:
    return Text("✔ held   ✘ stopped at this expression   · never reached   ↑ told above", style="dim")


def _rule(drawing: _Drawing, rule: Rule) -> Tree | None:
    """A rule with what it follows from; None when this view leaves it out."""
    name = rule["rule"]
    if name in drawing.drawn:
        return None if drawing.view == "fails" else Tree(_title(rule).append(" ↑", style="dim"), guide_style="dim")
    drawing.drawn.add(name)
    tree = Tree(_title(rule), guide_style="dim")
    held = any(body["held"] for each in rule["definitions"] for body in each["bodies"])
    for definition in rule["definitions"]:
        if definition["default"]:
            if "value" in rule and not held and drawing.view != "fails":
                tree.add(_line("✔", "yellow", definition, "nothing else holds, so the default does"))
            continue
        for body in definition["bodies"]:
            _body(drawing, rule, body, tree, held=held)
    unreached = not rule["begun"] and "value" not in rule and drawing.view != "full"
    return None if unreached or (drawing.view == "fails" and not tree.children) else tree


def _body(drawing: _Drawing, rule: Rule, body: Rule, tree: Tree, *, held: bool) -> None:
    """Draw one body; `held` says whether any of the rule's does."""
    brief = drawing.view == "notes" and held
    branch = tree
    if body["held"]:
        if drawing.view != "fails":
            times = f"{body['held']}×" if rule["function"] or body["held"] > 1 else ""
            branch = tree.add(_line("✔", "green", body, times))
    elif "stopped" in body and not (brief and " contains " in body["text"]):
        branch = tree.add(_line("✘", "red", body, ""))
        _stopped(branch, body["stopped"], brief=brief)
    elif drawing.view == "full":
        tree.add(_line("·", "dim", body, "never reached"))
    if body["held"] or ("stopped" in body and not brief):
        below = (_rule(drawing, drawing.rules[use]) for use in body["uses"])
        branch.children.extend(child for child in below if child is not None)


def _stopped(branch: Tree, stop: Rule, *, brief: bool) -> None:
    """The expression at which a body stopped, and what its names stood for: of several values, the first when brief."""
    names = [name for name in stop["names"] if name not in _SELF_EVIDENT][:_VALUES]
    text = Text.assemble((f"line {stop['location']['row']}: ", "dim"), (plain(_flat(stop["text"])), "red"))
    if "inner" not in stop or not brief:
        branch.add(text)
        for row in stop["values"][: 1 if brief else None] if names else []:
            told = ", ".join(f"{name} {'= ' + _json(row[name]) if name in row else 'is undefined'}" for name in names)
            branch.add(Text.assemble(("where ", "dim"), plain(told)))
    if "inner" in stop:
        _stopped(branch, stop["inner"], brief=brief)


_SELF_EVIDENT = frozenset({"input", "data"})


def _title(rule: Rule) -> Text:
    text = Text(plain(rule["rule"]), style="bold")
    if rule["function"]:
        return text.append("(…)", style="dim")
    if "error" in rule:
        return text.append(" fails", style="bold red")
    if "value" not in rule:
        return text.append(" is undefined", style="yellow")
    return text.append(" = ", style="dim").append(plain(_json(rule["value"])), style="cyan")


def _line(sign: str, style: str, part: Rule, note: str) -> Text:
    place = part["location"]
    text = Text.assemble((f"{sign} ", f"bold {style}"), plain(_flat(part["text"])))
    text.append(f"  {plain(place['file'])}:{place['row']}", style="dim")
    return text.append(f"  {note}", style="italic dim") if note else text


def _flat(text: str) -> str:
    """Source text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…"


def _json(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
