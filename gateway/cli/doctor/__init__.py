"""`phigate doctor`: is everything there that serving needs, and if not, what mends it?

Looks at all parts at once and changes none: no leaf, no file, no tool call. Only stdio upstreams are started, to be
asked which era they speak, and ended. Exit codes: 0 nothing failed (warnings may stand) · 1 something failed · 2 the
configuration cannot be used, so little could be looked at.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import trio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from gateway import config as configuration
from gateway.cli import operator, places
from gateway.cli.doctor import host, ingress, issuers, keys, policy, saml, store, upstreams
from gateway.cli.doctor.finding import Check, Finding, Status, fail, ok, worst
from gateway.config import Config
from gateway.core.errors import ConfigFault

DEADLINE_S = 45.0
"""Admission of a large policy takes 30 s; an upstream may be silent for 15 s to each of two questions."""
_STYLE = {Status.OK: "bold green", Status.WARN: "bold yellow", Status.FAIL: "bold red"}

Findings = Mapping[str, Sequence[Finding]]
"""By what was looked at, in the order in which it is told."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `phigate doctor`."""
    text = (
        "Look at everything that serving needs, change nothing, and say how to mend what is not right. "
        "Exit code 0: nothing failed; 1: something did; 2: the configuration cannot be used."
    )
    command = commands.add_parser("doctor", help="check everything that serving needs", description=text)
    places.add_config(command)
    places.add_format(command)
    command.add_argument(
        "--deadline", type=float, default=DEADLINE_S, metavar="SECONDS", help=f"for each check; default: {DEADLINE_S:g}"
    )
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Look, tell, and return the exit code."""
    file: Path = arguments.config
    try:
        config = configuration.load(file)
    except ConfigFault as fault:
        _tell(arguments, {"configuration": _faults(fault)})
        return 2
    logging.getLogger().addHandler(logging.NullHandler())  # What the parts would log is told as findings.
    findings = trio.run(_look, config, arguments.deadline)
    _tell(arguments, findings)
    return int(_state(findings) is Status.FAIL)


def _tell(arguments: argparse.Namespace, findings: Findings) -> None:
    if arguments.format == "json":
        operator.write_json(_document(arguments.config, findings))
    else:
        _show(Console(highlight=False), arguments.config, findings)


def _faults(fault: ConfigFault) -> list[Finding]:
    """Every fault of the configuration, each of which ends with its fix."""
    first, *lines = fault.detail.splitlines()
    parts = (line.partition(" Fix: ") for line in lines or [first])
    return [fail(what, fix=fix.rstrip(".") or "see docs/configuration.md") for what, _, fix in parts]


def _checks(config: Config) -> dict[str, Check]:
    """What is looked at, by the name that is shown."""
    return {
        "versions": host.versions,
        "open files": partial(host.descriptors, config),
        "port": partial(host.port, config),
        **({"metrics": partial(host.metrics, config)} if config.telemetry.metrics else {}),
        "public_url": partial(ingress.check, config),
        **({"client certificates": partial(ingress.authorities, config)} if config.gateway.ingress.mtls else {}),
        "keys": partial(keys.check, config),
        "evidence store": partial(store.check, config),
        "clock": partial(store.clock, config),
        "policy": partial(policy.check, config),
        **{f"issuer {each.url}": partial(issuers.check, each) for each in config.issuers},
        **_saml(config),
        **{f"upstream {each.name}": partial(upstreams.check, config, each) for each in config.upstreams},
    }


def _saml(config: Config) -> dict[str, Check]:
    if config.saml is None:
        return {}
    return {f"saml {each.name}": partial(saml.check, config.saml, each) for each in config.saml.identity_providers}


async def _look(config: Config, deadline_s: float) -> Findings:
    """All findings; checks run at once, each within its deadline, and a terminal shows how many are done."""
    checks = _checks(config)
    found: dict[str, Sequence[Finding]] = {"configuration": [ok(_summary(config))], **dict.fromkeys(checks, ())}
    clocks = host.Clocks.read()
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("Looking", total=len(checks))
        waiting = list(checks)

        def done(name: str) -> None:
            waiting.remove(name)
            progress.update(bar, advance=1, description=f"Waiting for {waiting[0]}" if waiting else "Done")

        async with trio.open_nursery() as nursery:
            for name, check in checks.items():
                nursery.start_soon(_perform, name, check, deadline_s, found, done)
    found["clock"] = [*found["clock"], *host.stepped(clocks, host.Clocks.read())]
    return found


async def _perform(
    name: str, check: Check, deadline_s: float, found: dict[str, Sequence[Finding]], done: Callable[[str], None]
) -> None:
    with trio.move_on_after(deadline_s) as scope:
        found[name] = await check()
    if scope.cancelled_caught:
        fix = "see why it does not answer; --deadline gives it longer"
        found[name] = [fail(f"The check did not end within {deadline_s:g} s.", fix=fix)]
    done(name)


def _summary(config: Config) -> str:
    counts = (
        (config.gateway.workers, "worker"),
        (len(config.issuers), "issuer"),
        (len(config.upstreams), "upstream"),
        (len(config.aggregates), "aggregate"),
    )
    return "no faults: " + ", ".join(f"{count} {word}{'s' * (count != 1)}" for count, word in counts)


def _state(findings: Findings) -> Status:
    return worst([finding for each in findings.values() for finding in each])


def _document(file: Path, findings: Findings) -> dict[str, object]:
    return {
        "config": str(file),
        "status": _state(findings).value,
        "checks": [
            {
                "check": name,
                "status": worst(each).value,
                "findings": [{"status": one.status.value, "text": one.text, "fix": one.fix} for one in each],
            }
            for name, each in findings.items()
        ],
    }


def _show(console: Console, file: Path, findings: Findings) -> None:
    """A line for each finding, and below it what mends it: never broken, so that commands can be copied."""
    console.print(Text.assemble(("phigate doctor", "bold"), f" · {file}\n"), soft_wrap=True)
    for name, each in findings.items():
        for position, finding in enumerate(each):
            state = (f"{finding.status.value:<4}  ", _STYLE[finding.status])
            title = (f"{places.plain(name) if position == 0 else '':<14}  ", "bold")
            text = places.plain(finding.text).replace("\n", "\n" + " " * 22)
            console.print(Text.assemble(state, title, text), soft_wrap=True)
            if finding.fix:
                fix = Text.assemble(" " * 22, ("Fix: ", "bold"), places.plain(finding.fix))
                console.print(fix, soft_wrap=True)
    counts = {status: sum(one.status is status for each in findings.values() for one in each) for status in Status}
    text = f"\n{counts[Status.FAIL]} failed, {counts[Status.WARN]} to be looked at, {counts[Status.OK]} in order."
    console.print(Text(text, style=_STYLE[_state(findings)]))
