"""Whether a bundle may decide: asked in a child process that can be killed, because regorus cannot be interrupted.

The child has a memory and a CPU limit. It lints the bundle, runs its tests and asks each entrypoint about every
sample; a bundle that crashes it, outlasts it or outgrows it has answered as well.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import orjson

from gateway.core.errors import MaskFault, PolicyFault
from gateway.core.masking import plan
from gateway.core.policy import bundle as bundles
from gateway.core.policy import decision, lint, samples
from gateway.core.policy.bundle import Bundle
from gateway.core.policy.decision import Entrypoint
from gateway.core.types import Document, Json
from gateway.pdp import suite
from gateway.pdp.engine import Rego, load, reraise

FAULTS_TOLD = 20

_SOMETHING: Document = {"content": [{"type": "text", "text": "SSN 123-45-6789"}]}
"""For a mask plan to be tried on."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the child may use. The shipped library needs about a second of it, and 70 MB."""

    wall_s: float = 30.0
    cpu_s: int = 20
    memory: int = 2 * 2**30
    decision_s: float = 0.05
    """CPU time of one decision: a fifth of the deadline that a decision has in service."""


def admit(bundle: Bundle, limits: Limits = Limits()) -> None:
    """Return when `bundle` may decide. Blocks for as long as that takes, at most `limits.wall_s`.

    Raises PolicyFault with every reason, file and line, when it may not.
    """
    command = [sys.executable, "-P", "-m", "gateway.pdp.admission", str(limits.cpu_s), str(limits.memory)]
    command.append(str(limits.decision_s))
    try:
        # Nothing of our environment: the child runs other people's code and needs none of our secrets.
        child = subprocess.run(
            command,
            input=bundle.archive,
            capture_output=True,
            timeout=limits.wall_s,
            env={"PYTHONPATH": os.pathsep.join(sys.path)},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PolicyFault(
            f"The bundle is not used: after {limits.wall_s:g} s it was still being tried, and was stopped. "
            "Look for a rule that never ends or a literal of great depth (`phigate policy check`)."
        ) from None
    faults = _faults(child)
    if faults:
        more = [f"… and {len(faults) - FAULTS_TOLD} more"] if len(faults) > FAULTS_TOLD else []
        raise PolicyFault("\n".join(["The bundle is not used:", *faults[:FAULTS_TOLD], *more]))


def faults_of(bundle: Bundle, *, decision_s: float) -> list[str]:
    """Why `bundle` may not decide; empty when it may. Runs the bundle in this process: for the child only."""
    found = [str(finding) for finding in lint.unparsed(bundle.sources)]
    if found:
        return found
    engine = load(bundle.sources, bundle.data)
    tree = orjson.loads(engine.get_ast_as_json())
    found = [str(finding) for finding in lint.check(tree, bundle.data, bundle.manifest)]
    if found:  # What recurses must not be run.
        return found
    for outcome in suite.run(bundle):
        if not outcome.passed and not outcome.skipped:
            why = f": {outcome.fault}" if outcome.fault else ""
            found.append(f"{outcome.file}:{outcome.place.line}: the test {outcome.name} {outcome.word}{why}")
    engine = load(tuple(source for source in bundle.sources if not source.is_test), bundle.data)
    told: set[Entrypoint] = set()
    for entrypoint, document in samples.samples():
        if entrypoint not in told:
            fault = _try(engine, entrypoint, document, decision_s)
            if fault:
                told.add(entrypoint)
                found.append(fault)
    return found


def _try(engine: Rego, entrypoint: Entrypoint, document: Document, decision_s: float) -> str:
    """What is wrong with the answer to one sample, or with how long it took; empty when nothing is."""
    asked = orjson.dumps(document).decode()
    cost = float("inf")
    answer = ""
    for _ in range(3):  # The first pays for compilation; a busy machine may slow one, hardly three.
        engine.set_input_json(asked)
        began = time.thread_time()
        try:
            answer = engine.eval_rule_as_json("data." + entrypoint.value.replace("/", "."))
        except BaseException as raised:  # A Rust panic derives from BaseException; `reraise` lets the rest through.
            return f"{entrypoint.value} fails on a sample input: {reraise(raised)}"
        cost = min(cost, time.thread_time() - began)
        if cost <= decision_s:
            break
    else:
        most = decision_s * 1000
        return f"{entrypoint.value} needs {cost * 1000:.0f} ms for a sample input; {most:.0f} ms is the most."
    try:
        result: Json = orjson.loads(answer)
    except orjson.JSONDecodeError:
        result = None
    decided = decision.decode(entrypoint, result)
    if decided.reasons and decided.reasons[0].code == "policy_malformed":
        return f"{entrypoint.value} answers a sample input wrongly: {decided.reasons[0].message}"
    try:
        plan.apply(_SOMETHING, decided.mask, key=bytes(32), schema=None)
    except MaskFault as fault:
        return f"{entrypoint.value} answers a sample input with a mask that cannot be carried out: {fault.detail}"
    return ""


def _faults(child: subprocess.CompletedProcess[bytes]) -> list[str]:
    if child.returncode == 0:
        told: Json = orjson.loads(child.stdout)
        return [str(fault) for fault in told] if isinstance(told, list) else ["the child gave no list of faults"]
    if child.returncode == -signal.SIGXCPU:
        return ["it used up the CPU time it may have while being tried: a rule that hardly ever ends."]
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        return [f"it ended its process ({name}) while being tried: endless recursion, or more memory than it may have."]
    last = child.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    return [f"trying it failed: {last}"]


def main(arguments: list[str]) -> int:
    """The child: limits itself, reads the archive from stdin and prints the faults as a JSON array."""
    cpu_s, memory, decision_s = int(arguments[0]), int(arguments[1]), float(arguments[2])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        found = faults_of(bundles.read(sys.stdin.buffer.read()), decision_s=decision_s)
    except PolicyFault as fault:
        found = [fault.detail]
    except MemoryError:  # Python met the limit before Rust, which would have ended the process.
        found = ["it needs more memory than it may have while being tried."]
    sys.stdout.buffer.write(orjson.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
