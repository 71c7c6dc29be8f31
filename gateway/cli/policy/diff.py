"""`phigate policy diff`: what a candidate would have decided otherwise, of all that is on record."""

from __future__ import annotations

import argparse
import base64
import re
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from gateway.cli import places
from gateway.cli.policy import crew, report, shared
from gateway.cli.policy.again import Job, compared
from gateway.cli.policy.crew import Range
from gateway.core.errors import PolicyFault
from gateway.core.policy import impact
from gateway.core.policy.bundle import Bundle
from gateway.core.policy.change import Kind
from gateway.core.policy.impact import Row, Share
from gateway.core.types import Document, Json
from gateway.pdp import admission, loader, replay
from gateway.process import now
from gateway.store.stamps import timestamp

ROWS = 8
"""Lines of one table on a terminal; JSON and HTML have all."""

_PSEUDONYM = re.compile(r"[0-9a-f]{8,32}")


@dataclass(slots=True)
class Found:
    """What came back from the children."""

    decisions: int = 0
    rows: list[Row] = field(default_factory=list)
    stopped: list[Document] = field(default_factory=list)
    """Leaves whose decision ended the process that made it."""
    unreadable: list[Document] = field(default_factory=list)


def add(verbs: shared.Verbs) -> None:
    """Register `phigate policy diff`."""
    verb = shared.verb(verbs, "diff", run, "show which recorded decisions a candidate policy would change")
    verb.add_argument("candidate", type=Path, metavar="CANDIDATE", help="directory of sources, or bundle file")
    verb.add_argument(
        "-b", "--base", type=Path, metavar="PATH", help="compare with this one, not with what is on record"
    )
    verb.add_argument("--samples", type=int, default=3, metavar="N", help="exchanges told for each rule (default: 3)")
    verb.add_argument("--html", type=Path, metavar="FILE", help="write the report as one page of HTML as well")
    words = ", ".join(kind.value for kind in Kind)
    verb.add_argument("--fail-on", metavar="KIND,…", default="", help=f"exit with 1 when there is one of: {words}")
    crew.add_scope(verb)


def run(arguments: argparse.Namespace) -> int:
    """Compare and tell. 1: there is a change of a kind that was to fail on; 2: the candidate is not admitted."""
    fail_on = _kinds(arguments.fail_on)
    if arguments.samples < 0:
        raise PolicyFault("--samples is 0 or more.")
    pretty = arguments.format == "pretty"
    console = Console(stderr=not pretty, soft_wrap=True)
    processes = crew.cores(arguments)
    candidate = loader.read(arguments.candidate)
    base = None if arguments.base is None else loader.read(arguments.base)
    whole, scope = crew.job(arguments)
    for bundle in (candidate, base):
        if bundle is not None:
            admission.admit(bundle)  # Both are about to run here.
    began = time.monotonic()
    found = _found(replace(whole, candidate=_text(candidate), base=_text(base)), scope, processes, console)
    rows, moot = impact.settled(found.rows)
    shares = impact.shares(rows, samples=arguments.samples)
    made = _made(arguments, whole, scope, candidate, base, seconds=time.monotonic() - began, processes=processes)
    document = _document(made, found, rows, moot, shares)
    if arguments.html is not None:
        _write(arguments.html, report.page(document))
    if pretty:
        console.print(_pretty(document, shares))
    else:
        shared.print_json(document)
    failing = sorted({kind.value for kind in fail_on} & ({share.kind.value for share in shares} | _stops(found)))
    if failing:
        print(f"phigate: the candidate changes what must not change: {', '.join(failing)}.", file=sys.stderr)
    return 1 if failing else 0


def _kinds(text: str) -> frozenset[Kind]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    known = {kind.value: kind for kind in Kind}
    unknown = [word for word in words if word not in known]
    if unknown:
        raise PolicyFault(f"--fail-on: {unknown[0]!r} is no kind of change. There are: {', '.join(known)}.")
    return frozenset(known[word] for word in words)


def _stops(found: Found) -> frozenset[str]:
    return frozenset({Kind.FAILS.value} if found.stopped else ())


def _text(bundle: Bundle | None) -> str:
    return "" if bundle is None else base64.b64encode(bundle.archive).decode()


def _found(job: Job, scope: Range, processes: int, console: Console) -> Found:
    found = Found()
    for answer in crew.work(compared, job, scope, processes=processes, console=console):
        decisions, told = answer.get("decisions"), answer.get("found")
        found.decisions += decisions if isinstance(decisions, int) else 0
        if "stopped" in answer:
            found.stopped.append({"leaf": answer["stopped"], "why": answer["why"]})
        for item in told if isinstance(told, list) else []:
            if isinstance(item, dict) and "unreadable" in item:
                found.unreadable.append({"leaf": item["unreadable"], "why": item["why"]})
            elif isinstance(item, dict):
                found.rows.append(impact.parse(item))
    return found


def _made(
    arguments: argparse.Namespace,
    job: Job,
    scope: Range,
    candidate: Bundle,
    base: Bundle | None,
    *,
    seconds: float,
    processes: int,
) -> Document:
    """How the report was made, for whoever has to trust it."""
    names = ("session", "exchange", "principal", "upstream", "since", "until")
    filters: Document = {name: getattr(job, name) for name in names if getattr(job, name) is not None}
    if not _PSEUDONYM.fullmatch(job.principal or ""):  # A report that is passed on names nobody.
        filters |= {"principal": "one, given by name"} if job.principal else {}
    return {
        "candidate": _named(candidate),
        "base": "as recorded" if base is None else _named(base),
        "first": scope.first,
        "last": max(scope.first, scope.last - 1),
        "filters": filters,
        "engine": replay.engine(),
        "at": timestamp(now()),
        "seconds": round(seconds, 2),
        "processes": processes,
        "samples": arguments.samples,
    }


def _named(bundle: Bundle) -> Document:
    return {"digest": bundle.digest, "revision": bundle.manifest.revision}


def _document(made: Document, found: Found, rows: list[Row], moot: int, shares: list[Share]) -> Document:
    return {
        "made": made,
        "decisions": found.decisions,
        "changed": len(rows),
        "exchanges_changed": len({row.exchange for row in rows if row.exchange}),
        "moot": moot,
        "stopped": list[Json](found.stopped),
        "unreadable": list[Json](found.unreadable),
        "changes": [share.document() for share in shares],
    }


def _write(path: Path, page: str) -> None:
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as fault:
        raise PolicyFault(f"{path} cannot be written: {fault.strerror}.") from None


def _pretty(document: Document, shares: list[Share]) -> RenderableType:
    changed, exchanges, decisions = (document[name] for name in ("changed", "exchanges_changed", "decisions"))
    if not decisions:
        return Text("There is no decision on record in this range.")
    if not shares and not document["stopped"]:
        return Text(f"{decisions:,} decisions: the candidate changes none.")
    parts: list[RenderableType] = [
        Text(f"{decisions:,} decisions: the candidate changes {changed:,}, in {exchanges:,} exchanges.\n")
    ]
    for share in shares:
        parts += [_heading(share), _table(share), Text()]
    for name, text in (
        ("moot", "decisions more are about results that would not come about: their call would be denied."),
        ("stopped", "decisions ended the process that made them: in the gateway they would be denied."),
        ("unreadable", "decisions on record could not be read."),
    ):
        count = document[name]
        number = len(count) if isinstance(count, list) else count
        if number:
            parts.append(Text(f"{number:,} {text}"))
    return Group(*parts)


def _heading(share: Share) -> Text:
    colour = "red" if share.kind.loosens else "yellow"
    return Text.assemble((share.kind.value, f"bold {colour}"), f"  {share.decisions:,}")


def _table(share: Share) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, show_edge=False)
    table.add_column("by")
    table.add_column("what", overflow="fold")
    table.add_column("decisions", justify="right")
    table.add_column("such as", style="dim", no_wrap=True)
    titles = {"cause": "rule", "principal": "principal", "upstream": "upstream", "about": "tool"}
    for name, title in titles.items():
        counted = impact.ordered(share.by[name])
        for number, (key, count) in enumerate(counted[:ROWS]):
            samples = "\n".join(share.samples.get(key, [])) if name == "cause" else ""
            table.add_row(title if not number else "", Text(places.plain(key)), f"{count:,}", places.plain(samples))
        if len(counted) > ROWS:
            table.add_row("", f"… {len(counted) - ROWS:,} more", "", "")
    return table
