"""Whether a bundle may decide: asked in a child process that can be killed, because regorus cannot be interrupted.

The child has a memory and a time limit. It lints the bundle, runs its tests and tries it (`trial.py`); a bundle that
crashes it, outlasts it or outgrows it has answered as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import orjson

from gateway.core.errors import PolicyFault
from gateway.core.policy import bundle as bundles
from gateway.core.policy import lint
from gateway.core.policy.bundle import Bundle
from gateway.core.policy.lint import Schemas
from gateway.core.types import Json
from gateway.pdp import child, suite, trial
from gateway.pdp.engine import load, windows_of
from gateway.pdp.schemas import schema

FAULTS_TOLD = 20

Admit = Callable[[Bundle], None]
"""Returns when a bundle may decide. Raises PolicyFault when it may not. Blocks."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the child may use. The shipped library needs under two seconds of CPU time, and 100 MB."""

    cpu_s: float = 30.0
    wall_s: float = 300.0
    """A bundle is not at fault where a container may have a tenth of a CPU, or the machine is busy."""
    memory: int = child.MEMORY
    decision_s: float = 0.05
    """CPU time of one decision: a fifth of the deadline that a decision has in service."""


def admit(bundle: Bundle, limits: Limits = Limits()) -> None:
    """Return when `bundle` may decide. Blocks for as long as that takes, at most `limits.wall_s` and a child's start.

    Raises PolicyFault with every reason, file and line, when it may not.
    """
    asked = b"%r\n" % limits.decision_s + bundle.archive
    try:
        told: Json = orjson.loads(
            child.run(tried, asked, wall_s=limits.wall_s, cpu_s=limits.cpu_s, memory=limits.memory)
        )
    except PolicyFault as fault:
        told = [fault.detail]
    faults = [str(fault) for fault in told] if isinstance(told, list) else ["The child gave no list of faults."]
    if faults:
        more = [f"… and {len(faults) - FAULTS_TOLD} more"] if len(faults) > FAULTS_TOLD else []
        raise PolicyFault("\n".join(["This policy may not decide:", *faults[:FAULTS_TOLD], *more]))


def tried(asked: bytes) -> bytes:
    """In the child: the faults, as a JSON array, of the archive that follows the line with the time of a decision."""
    decision_s, _, archive = asked.partition(b"\n")
    return orjson.dumps(faults_of(bundles.read(archive), decision_s=float(decision_s)))


def faults_of(bundle: Bundle, *, decision_s: float) -> list[str]:
    """Why `bundle` may not decide; empty when it may. Runs the bundle in this process: for the child only.

    Raises PolicyFault when the sources do not parse, or its budgets cannot be counted.
    """
    windows_of(bundle)
    found = [str(finding) for finding in lint.unparsed(bundle.sources)]
    if found:
        return found
    tree = orjson.loads(load(bundle.sources, bundle.data).get_ast_as_json())
    schemas = Schemas(input=schema("input"), settings=schema("settings"))
    found = [str(finding) for finding in lint.check(tree, bundle.data, bundle.manifest, schemas)]
    if found:  # What recurses must not be run.
        return found
    for outcome in suite.run(bundle):
        if not outcome.passed and not outcome.skipped:
            why = f": {outcome.fault}" if outcome.fault else ""
            found.append(f"{outcome.file}:{outcome.place.line}: the test {outcome.name} {outcome.word}{why}")
    return found + trial.faults_of(bundle, decision_s=decision_s)
