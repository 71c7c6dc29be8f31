"""`phigate policy test`: run a policy's `test_` rules and cases, as `opa test` does."""

from __future__ import annotations

import argparse
import io
import re
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from gateway.cli.policy import shared, test_files, test_junit, test_report
from gateway.cli.policy.test_files import Tested
from gateway.core.errors import PolicyFault
from gateway.core.policy.outcome import Outcome
from gateway.pdp import coverage, suite_worker
from gateway.pdp.suite_worker import Plan, Report

WATCH_S = 0.5

_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)", re.ASCII)
_SIZES = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def add(verbs: shared.Verbs) -> None:
    """Register `phigate policy test`."""
    verb = shared.verb(
        verbs, "test", run, "run the test_ rules and cases of a policy", formats=("pretty", "json", "junit")
    )
    verb.add_argument(
        "path",
        type=Path,
        nargs="*",
        default=[Path("policies")],
        help="directories, files or bundles; several are tested as one policy (default: policies)",
    )
    verb.add_argument("-b", "--bundle", action="store_true", help="paths are bundles; they are always read as such")
    verb.add_argument("-r", "--run", dest="only", default="", metavar="REGEX", help="only tests whose name matches")
    verb.add_argument("-v", "--verbose", action="store_true", help="name the tests that pass too")
    verb.add_argument("-w", "--watch", action="store_true", help="run again whenever a file changes, until Ctrl-C")
    verb.add_argument("-c", "--coverage", action="store_true", help="tell which lines of the policy no test comes to")
    verb.add_argument(
        "--threshold", type=_percent, metavar="PERCENT", help="exit with 1 when less than this is covered; implies -c"
    )
    verb.add_argument(
        "--timeout", type=_seconds, default=suite_worker.TIMEOUT_S, metavar="TIME", help="for each test (default: 5s)"
    )
    verb.add_argument("--count", type=_natural, default=1, metavar="N", help="run each test so many times")
    verb.add_argument(
        "-p", "--parallel", type=_whole, metavar="N", help="processes; 0: one a core (default: as many as pay off)"
    )
    verb.add_argument(
        "--ignore", action="append", default=[], metavar="PATTERN", help="files and directories to leave out"
    )
    verb.add_argument("--fail-on-empty", action="store_true", help="exit with 1 when no test was run")
    verb.add_argument("-z", "--exit-zero-on-skipped", action="store_true", help="a skipped test is no failure")


def run(arguments: argparse.Namespace) -> int:
    """Run the tests. 0: all passed; 1: one did not (or was skipped, without -z), or too little is covered."""
    try:
        re.compile(arguments.only)
    except re.error as fault:
        raise PolicyFault(f"--run is not a regular expression: {fault}.") from None
    if arguments.watch:
        return watch(lambda: _told(arguments), lambda: test_files.fingerprint(arguments.path), _pause)
    return _once(arguments)


def watch(act: Callable[[], int], look: Callable[[], object], pause: Callable[[], bool]) -> int:
    """Act, and again whenever `look` sees something else than before, until `pause` says that it is over, or Ctrl-C.

    Returns what the last act did.
    """
    seen, code = look(), 0
    try:
        code = act()
        while pause():
            now = look()
            if now != seen:
                seen = now
                code = act()
    except KeyboardInterrupt:
        pass  # The way to end it.
    return code


def _pause() -> bool:
    time.sleep(WATCH_S)
    return True


def _told(arguments: argparse.Namespace) -> int:
    """One run while watching: a policy that cannot be read is being edited, and no reason to stop."""
    Console(stderr=True).rule(datetime.now().astimezone().strftime("%H:%M:%S"))
    try:
        return _once(arguments)
    except PolicyFault as fault:
        Console(stderr=True).print(fault.detail, markup=False, highlight=False, soft_wrap=True)
        return 2


def _once(arguments: argparse.Namespace) -> int:
    covering = arguments.coverage or arguments.threshold is not None
    tested = test_files.read(arguments.path, arguments.ignore)
    report = _run(
        Plan(
            tested.sources,
            tested.data,
            tested.cases,
            only=arguments.only,
            count=arguments.count,
            timeout_s=arguments.timeout,
            covering=covering,
            parallel=arguments.parallel,
        )
    )
    _print(arguments, tested, report, covering)
    words = {outcome.word for outcome in report.outcomes}
    if not words:
        Console(stderr=True).print("No test was run.")
    bad = {"FAIL", "ERROR"} if arguments.exit_zero_on_skipped else {"FAIL", "ERROR", "SKIPPED"}
    if words & bad or (arguments.fail_on_empty and not words):
        return 1
    return _enough(report, arguments.threshold)


def _run(plan: Plan) -> Report:
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("testing", total=None)
        return suite_worker.run(plan, tell=lambda done, total: progress.update(task, completed=done, total=total))


def _print(arguments: argparse.Namespace, tested: Tested, report: Report, covering: bool) -> None:
    outcomes, console = report.outcomes, Console()
    match arguments.format:
        case "junit":
            sys.stdout.buffer.write(test_junit.document(outcomes, [_detail(outcome) for outcome in outcomes]))
            sys.stdout.buffer.flush()
        case "json" if covering:  # As OPA: the coverage alone, so what failed is told beside it.
            failed = [outcome for outcome in outcomes if not outcome.passed]
            if failed:
                test_report.tests(Console(stderr=True), failed, verbose=arguments.verbose)
            shared.print_json(coverage.of(report.lines).document)
        case "json":
            shared.print_json([outcome.document for outcome in outcomes])
        case _:
            test_report.tests(console, outcomes, verbose=arguments.verbose)
            if covering:
                texts = {source.path: source.text for source in tested.sources}
                test_report.covered(console, coverage.of(report.lines), texts)
    if report.lines_lost:
        told = "A test ended its process, so that the lines which those before it came to are not counted."
        Console(stderr=True).print(told, soft_wrap=True)


def _detail(outcome: Outcome) -> str:
    """What the pretty format says of one test that did not pass."""
    if outcome.passed or outcome.skipped:
        return ""
    text = io.StringIO()
    test_report.one(Console(file=text, no_color=True), outcome, verbose=False)
    return text.getvalue()


def _enough(report: Report, threshold: float | None) -> int:
    """Whether as much is covered as was asked for, as an exit code."""
    percent = coverage.of(report.lines).percent
    if threshold is None or percent >= threshold:
        return 0
    told = f"Code coverage threshold not met: got {percent:.2f} instead of {threshold:.2f}"
    Console(stderr=True).print(told, highlight=False, soft_wrap=True)
    return 1


def _seconds(text: str) -> float:
    """A time as Go writes it (`5s`, `1m30s`, `500ms`), or seconds."""
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        total = float(text)
    elif re.fullmatch(f"(?:{_PART.pattern})+", text):
        total = sum(float(number) * _SIZES[unit] for number, unit in _PART.findall(text))
    else:
        total = 0.0
    if not 0 < total <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is no time from 1ms to 1h, such as 5s or 500ms")
    return total


def _percent(text: str) -> float:
    number = float(text) if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) else -1.0
    if not 0 <= number <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage from 0 to 100")
    return number


def _whole(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to 999")
    return int(text)


def _natural(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 to 999999")
    return int(text)
