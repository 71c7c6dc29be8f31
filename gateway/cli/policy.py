"""`phigate policy`: ask a policy, test it, check it, and decide again what is on record."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import orjson
from rich.console import Console
from rich.json import JSON

from gateway.cli import policy_replay
from gateway.core.errors import PolicyFault
from gateway.core.policy import bundle as bundles
from gateway.core.policy import decision, lint
from gateway.core.policy.bundle import Bundle
from gateway.core.policy.decision import Effect, Entrypoint
from gateway.core.types import Document, Json
from gateway.pdp import loader, suite
from gateway.pdp.engine import load, reraise

_COLOURS = {"PASS": "green", "FAIL": "red", "ERROR": "red", "SKIPPED": "yellow"}
_NAMES = {entrypoint.name.lower(): entrypoint for entrypoint in Entrypoint}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `phigate policy …`."""
    noun = commands.add_parser("policy", help="ask, test and check policies, and replay decisions")
    verbs = noun.add_subparsers(title="verbs", metavar="VERB", required=True)

    verb = _verb(verbs, "eval", _eval, "ask a policy a question")
    verb.add_argument(
        "query",
        help=f"an entrypoint ({', '.join(_NAMES)}), a rule path such as gateway/call/decision, or a Rego query",
    )
    where = verb.add_mutually_exclusive_group()
    where.add_argument("-d", "--data", type=Path, metavar="DIR", help="directory of policy sources")
    where.add_argument("-b", "--bundle", type=Path, metavar="FILE", help="bundle file (default: the shipped one)")
    verb.add_argument("-i", "--input", metavar="FILE", help="input document as JSON; - is standard input")

    verb = _verb(verbs, "test", _test, "run the test_ rules of a policy")
    verb.add_argument(
        "path", type=Path, nargs="?", default=Path("policies"), help="sources or bundle (default: policies)"
    )
    verb.add_argument("-r", "--run", dest="only", default="", metavar="REGEX", help="only tests whose name matches")
    verb.add_argument("-v", "--verbose", action="store_true", help="name the tests that pass too")

    verb = _verb(verbs, "check", _check, "find what would make a policy decide wrongly")
    verb.add_argument(
        "path", type=Path, nargs="?", default=Path("policies"), help="sources or bundle (default: policies)"
    )

    policy_replay.add(_verb(verbs, "replay", policy_replay.run, "decide again what is on record, and compare"))


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    help_: str,
) -> argparse.ArgumentParser:
    verb = verbs.add_parser(name, help=help_, description=help_.capitalize() + ".")
    verb.add_argument("--format", choices=("pretty", "json"), default="pretty", help="for people, or for programs")
    verb.set_defaults(run=run)
    return verb


def _eval(arguments: argparse.Namespace) -> int:
    bundle = _chosen(arguments.data or arguments.bundle)
    engine = load(bundle.sources, bundle.data)
    engine.set_input_json(_input(arguments.input))
    entrypoint, query = _query(arguments.query)
    try:
        answer: Json = orjson.loads(engine.eval_query_as_json(query))
    except BaseException as raised:  # A Rust panic derives from BaseException; `reraise` lets the rest through.
        raise PolicyFault(reraise(raised)) from None
    if arguments.format == "json":
        _print_json(answer)
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


def _test(arguments: argparse.Namespace) -> int:
    try:
        re.compile(arguments.only)
    except re.error as fault:
        raise PolicyFault(f"--run is not a regular expression: {fault}.") from None
    bundle = loader.read(arguments.path)
    _refuse_unparsable(bundle)
    began = time.perf_counter()
    outcomes = suite.run(bundle, only=arguments.only)
    failed = [outcome for outcome in outcomes if not outcome.passed and not outcome.skipped]
    if arguments.format == "json":
        _print_json([outcome.document for outcome in outcomes])
        return 1 if failed else 0
    console = Console()
    for outcome in outcomes:
        if arguments.verbose or not outcome.passed:
            told = f"{outcome.file}:{outcome.place.line}: {outcome.package}.{outcome.name}: "
            console.print(told, end="", markup=False, highlight=False, soft_wrap=True)
            console.print(f"[{_COLOURS[outcome.word]}]{outcome.word}[/] ({outcome.duration_ns / 1e6:.2f} ms)")
            for text in filter(None, (outcome.fault, outcome.output.rstrip())):
                console.print(text, markup=False, highlight=False)
    passed = sum(outcome.passed for outcome in outcomes)
    took = time.perf_counter() - began
    console.print(f"{passed} of {len(outcomes)} tests passed in {took:.2f} s.", highlight=False)
    return 1 if failed else 0


def _check(arguments: argparse.Namespace) -> int:
    bundle = loader.read(arguments.path)
    found = lint.unparsed(bundle.sources)
    if not found:
        engine = load(bundle.sources, bundle.data)
        found = lint.check(orjson.loads(engine.get_ast_as_json()), bundle.data, bundle.manifest)
    if arguments.format == "json":
        _print_json([_finding(finding) for finding in found])
    else:
        console = Console(soft_wrap=True)
        for finding in found:
            console.print(str(finding), markup=False, highlight=False)
        count = "No faults" if not found else f"{len(found)} fault(s)"
        console.print(f"{count} in {len(bundle.sources)} sources.", highlight=False)
    return 1 if found else 0


def _finding(finding: lint.Finding) -> Document:
    return {
        "rule": finding.rule,
        "location": {"file": finding.file, "row": finding.place.line, "col": finding.place.column},
        "reason": finding.reason,
        "fix": finding.fix,
    }


def _chosen(path: Path | None) -> Bundle:
    bundle = bundles.read(loader.shipped()) if path is None else loader.read(path)
    _refuse_unparsable(bundle)
    return bundle


def _refuse_unparsable(bundle: Bundle) -> None:
    found = lint.unparsed(bundle.sources)
    if found:
        raise PolicyFault("\n".join(str(finding) for finding in found))


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


def _print_json(value: Json) -> None:
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()
