"""`phigate policy eval`: ask a policy a question."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import orjson
from rich.console import Console
from rich.json import JSON

from gateway.cli.policy import shared
from gateway.core.errors import PolicyFault
from gateway.core.policy import decision
from gateway.core.policy.decision import Effect, Entrypoint
from gateway.core.types import Json
from gateway.pdp.engine import load, reraise

_NAMES = {entrypoint.name.lower(): entrypoint for entrypoint in Entrypoint}


def add(verbs: shared.Verbs) -> None:
    """Register `phigate policy eval`."""
    verb = shared.verb(verbs, "eval", run, "ask a policy a question")
    verb.add_argument(
        "query",
        help=f"an entrypoint ({', '.join(_NAMES)}), a rule path such as gateway/call/decision, or a Rego query",
    )
    where = verb.add_mutually_exclusive_group()
    where.add_argument("-d", "--data", type=Path, metavar="DIR", help="directory of policy sources")
    where.add_argument("-b", "--bundle", type=Path, metavar="FILE", help="bundle file (default: the shipped one)")
    verb.add_argument("-i", "--input", metavar="FILE", help="input document as JSON; - is standard input")


def run(arguments: argparse.Namespace) -> int:
    """Ask the query and print what it answers."""
    bundle = shared.chosen(arguments.data or arguments.bundle)
    engine = load(bundle.sources, bundle.data)
    engine.set_input_json(_input(arguments.input))
    entrypoint, query = _query(arguments.query)
    try:
        answer: Json = orjson.loads(engine.eval_query_as_json(query))
    except BaseException as raised:  # A Rust panic derives from BaseException; `reraise` lets the rest through.
        raise PolicyFault(reraise(raised)) from None
    if arguments.format == "json":
        shared.print_json(answer)
        return 0
    values = _values(answer)
    console = Console()
    for value in values:
        console.print(JSON(orjson.dumps(value).decode()))
    if not values:
        console.print("undefined")
    if entrypoint is not None:
        _tell_decision(console, entrypoint, values[0] if values else None)
    return 0


def _tell_decision(console: Console, entrypoint: Entrypoint, value: Json) -> None:
    """What the gateway makes of an entrypoint's answer, in a line."""
    decided = decision.decode(entrypoint, value)
    colour = {Effect.ALLOW: "green", Effect.DENY: "red", Effect.REQUIRE_APPROVAL: "yellow"}[decided.effect]
    console.print(f"The gateway reads this as [{colour}]{decided.effect.value}[/].", highlight=False)
    for reason in decided.reasons:
        console.print(f"  {reason.code}: {reason.message}", markup=False, highlight=False)


def _query(text: str) -> tuple[Entrypoint | None, str]:
    """The entrypoint that is meant, if one is, and the Rego query to ask."""
    for entrypoint in Entrypoint:
        rule = "data." + entrypoint.value.replace("/", ".")
        if text in (entrypoint.name.lower(), entrypoint.value, rule):
            return entrypoint, rule
    return None, text


def _input(name: str | None) -> str:
    """The input document as text, checked to be JSON. Raises PolicyFault."""
    if name is None:
        return "{}"
    try:
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as fault:
        raise PolicyFault(f"{name} cannot be read: {fault.strerror}.") from None
    try:
        return orjson.dumps(orjson.loads(content)).decode()
    except orjson.JSONDecodeError as fault:
        raise PolicyFault(f"{name}:{fault.lineno}:{fault.colno}: not JSON: {fault.msg}.") from None


def _values(answer: Json) -> list[Json]:
    """The value of each expression in a query's answer (OPA's result set)."""
    results = answer.get("result") if isinstance(answer, dict) else None
    found: list[Json] = []
    for result in results if isinstance(results, list) else []:
        expressions = result.get("expressions") if isinstance(result, dict) else None
        for expression in expressions if isinstance(expressions, list) else []:
            found.append(expression.get("value") if isinstance(expression, dict) else None)
    return found
