"""`phigate policy eval`: ask a policy a question, and why it answers so."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable

import orjson
from rich import box
from rich.console import Console
from rich.json import JSON
from rich.table import Table
from rich.text import Text

from gateway.cli import screen
from gateway.cli.places import plain
from gateway.cli.policy import given, recorded, shared, why
from gateway.core.errors import PolicyFault
from gateway.core.policy import decision
from gateway.core.policy.decision import Effect, Entrypoint
from gateway.core.types import Document, Json
from gateway.pdp import ask
from gateway.pdp.ask import Answer

_PATH = re.compile(r"[A-Za-z_]\w*(/[A-Za-z_]\w*)+")
"""A rule's path as decision logs have it. As Rego it would divide names that stand for nothing."""

_NAMES = {entrypoint.name.lower(): entrypoint for entrypoint in Entrypoint}


def add(verbs: shared.Verbs) -> None:
    """Register `phigate policy eval`."""
    verb = shared.verb(verbs, "eval", run, "ask a policy a question", formats=("pretty", "json", "values", "raw"))
    verb.add_argument(
        "query",
        help=f"an entrypoint ({', '.join(_NAMES)}), a rule path such as gateway/call/decision, or a Rego query",
    )
    given.add_policy(verb)
    given.add_input(verb)
    recorded.add(verb)
    verb.add_argument("--explain", choices=("off", *why.VIEWS), default="off", help="why: what held, and what did not")
    verb.add_argument("--metrics", action="store_true", help="tell what loading and evaluating took")
    verb.add_argument("--fail", action="store_true", help="exit with 1 when the query is undefined")
    verb.add_argument("--fail-defined", action="store_true", help="exit with 1 when the query is defined")
    verb.add_argument(
        "--timeout", type=shared.seconds, default=10.0, metavar="S", help="seconds until it is stopped (default: 10)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Ask the query and print what it answers."""
    entrypoint, query = _query(arguments.query)
    try:
        began = time.perf_counter_ns()
        question = _question(arguments, entrypoint, query)
        loaded = time.perf_counter_ns() - began
        answer = ask.ask(question, wall_s=arguments.timeout)
    except PolicyFault as fault:
        if arguments.format != "json":
            raise
        shared.print_json({"errors": [{"message": fault.detail, "code": "policy_fault"}]})
        return 2
    if arguments.metrics:
        answer.metrics["timer_rego_load_files_ns"] = loaded
    errors = Console(stderr=True, soft_wrap=True)
    for line in answer.prints:
        errors.print(plain(line), markup=False, highlight=False)
    _FORMATS[arguments.format](answer, entrypoint, arguments.explain)
    return int((arguments.fail and not answer.result) or (arguments.fail_defined and bool(answer.result)))


def _question(arguments: argparse.Namespace, entrypoint: Entrypoint | None, query: str) -> ask.Question:
    policy, asked = given.policy(arguments), given.input_text(arguments)
    if arguments.exchange is not None:
        if asked is not None:
            raise PolicyFault("Say either --exchange or --input: there is one input document.")
        found = recorded.read(arguments, entrypoint)
        Console(stderr=True, soft_wrap=True).print(found.told, markup=False, highlight=False)
        asked = found.input
        policy = policy or given.of(found.bundle)
    policy = policy or given.shipped()
    explain = arguments.explain != "off"
    return ask.Question(policy.sources, policy.data, query, asked, metrics=arguments.metrics, explain=explain)


def _query(text: str) -> tuple[Entrypoint | None, str]:
    """The entrypoint that is meant, if one is, and the Rego query to ask."""
    for entrypoint in Entrypoint:
        rule = "data." + entrypoint.value.replace("/", ".")
        if text in (entrypoint.name.lower(), entrypoint.value, rule):
            return entrypoint, rule
    return None, "data." + text.replace("/", ".") if _PATH.fullmatch(text) else text


def _json(answer: Answer, _entrypoint: Entrypoint | None, explain: str) -> None:
    told: Document = {"result": answer.result} if answer.result else {}
    if answer.metrics:
        told["metrics"] = {name: answer.metrics[name] for name in sorted(answer.metrics)}
    if explain != "off":
        told["explanation"] = answer.explanation
    shared.print_json(told)


def _values(answer: Answer, _entrypoint: Entrypoint | None, _explain: str) -> None:
    for row in _rows(answer):
        shared.print_json(row)


def _raw(answer: Answer, _entrypoint: Entrypoint | None, _explain: str) -> None:
    for row in _rows(answer):
        print(" ".join(value if isinstance(value, str) else orjson.dumps(value).decode() for value in row))


def _pretty(answer: Answer, entrypoint: Entrypoint | None, explain: str) -> None:
    console = Console()
    if explain != "off":
        screen.console().print(why.trees(answer.explanation, explain))
    rows = _rows(answer)
    bindings = [row for row in (result.get("bindings") for result in _results(answer)) if isinstance(row, dict)]
    if not rows:
        console.print("undefined")
    elif bindings:
        console.print(_table(bindings))
    elif len(rows) == 1 and len(rows[0]) == 1:
        console.print(JSON(orjson.dumps(rows[0][0]).decode()), soft_wrap=True)
    else:
        console.print(_table([dict(zip(_texts(answer), row, strict=False)) for row in rows]))
    if entrypoint is not None:
        _tell_decision(console, entrypoint, rows[0][0] if rows else None)
    if answer.metrics:
        console.print(_table([{"Metric": name, "Value": answer.metrics[name]} for name in sorted(answer.metrics)]))


_FORMATS: dict[str, Callable[[Answer, Entrypoint | None, str], None]] = {
    "pretty": _pretty,
    "json": _json,
    "values": _values,
    "raw": _raw,
}


def _tell_decision(console: Console, entrypoint: Entrypoint, value: Json) -> None:
    """What the gateway makes of an entrypoint's answer, in a line."""
    decided = decision.decode(entrypoint, value)
    colour = {Effect.ALLOW: "green", Effect.DENY: "red", Effect.REQUIRE_APPROVAL: "yellow"}[decided.effect]
    console.print(f"The gateway reads this as [{colour}]{decided.effect.value}[/].", highlight=False)
    for reason in decided.reasons:
        console.print(plain(f"  {reason.code}: {reason.message}"), markup=False, highlight=False, soft_wrap=True)


def _table(rows: list[dict[str, Json]]) -> Table:
    table = Table(box=box.SQUARE)
    names = list(dict.fromkeys(name for row in rows for name in row))
    for name in names:
        table.add_column(Text(plain(name)))
    for row in rows:
        cells = (row.get(name) for name in names)
        table.add_row(*(Text(plain(cell if isinstance(cell, str) else orjson.dumps(cell).decode())) for cell in cells))
    return table


def _results(answer: Answer) -> list[Document]:
    return [row for row in answer.result if isinstance(row, dict)]


def _expressions(row: Document) -> list[Document]:
    listed = row.get("expressions")
    return [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []


def _rows(answer: Answer) -> list[list[Json]]:
    """The values of the expressions in each result of OPA's result set."""
    return [[item.get("value") for item in _expressions(row)] for row in _results(answer)]


def _texts(answer: Answer) -> list[str]:
    return [str(item.get("text")) for item in _expressions(_results(answer)[0])]
