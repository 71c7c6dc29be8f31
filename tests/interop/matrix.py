"""Every client in each of its eras at every upstream, through one gateway: what came of each step."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import trio

from tests.e2e import harness, issuer
from tests.e2e.harness import Gateway
from tests.interop import upstreams
from tests.interop.clients import Kind, Met, Session, Step
from tests.interop.upstreams import Call, Real

STEPS = ("connect", "list", "allowed", "masked", "refused", "progress", "elicitation", "sampling", "approved")
"""What is looked at, in the order of the table's columns."""

YES, NO, NOTHING = "yes", "NO", "–"
"""It came out as it should; it did not; there is nothing to look at: this upstream or this client has no such thing."""

_ASKED_S = 60.0
_PAUSE_S = 0.05


@dataclass(frozen=True)
class Cell:
    """One client at one upstream: the version it speaks, a verdict for each of STEPS, and why for each that is NO."""

    client: Kind
    upstream: Real
    version: str
    verdicts: dict[str, str]
    why: dict[str, str]


@contextmanager
def gateway(place: Path) -> Iterator[tuple[Gateway, tuple[Real, ...]]]:
    """A gateway in front of all upstreams. After the block, evidence is verified and every decision made again."""
    state, files = place / "gateway", place / "served"
    state.mkdir()
    files.mkdir()
    with issuer.running() as tokens, upstreams.running(files) as real:
        behind = [each.upstream for each in real]
        with harness.running(state, tokens, behind, policy=upstreams.policy) as running:
            running.phi |= {each.phi for each in real if each.phi is not None}
            trio.run(_list_all, running, real)
            yield running, real


async def _list_all(running: Gateway, real: tuple[Real, ...]) -> None:
    """Have the gateway see all tools; at the same time, as finding out an era means waiting for programs to end."""
    async with trio.open_nursery() as nursery:
        for each in real:
            nursery.start_soon(harness.list_tools, running, "analyst", each.name)


def run(
    running: Gateway, pairs: Iterable[tuple[Kind, Real]], told: Callable[[Cell], None] = lambda cell: None
) -> list[Cell]:
    """The cells of the pairs. `told` hears of each as it is done."""
    cells = []
    for number, (client, real) in enumerate(pairs, 1):
        # Somebody else each time: whoever asks the same again would join the approval of before.
        cells.append(_cell(running, client, real, f"{real.who}-{number}"))
        told(cells[-1])
    return cells


def _cell(running: Gateway, client: Kind, real: Real, who: str) -> Cell:
    def begins(step: str) -> None:
        if step == "approved":
            _grant(running, who)

    home = running.place.parent / who
    home.mkdir()
    session = Session(running.mcp(real.name), running.issuer.token(who), list(_steps(client, real)), begins, home)
    met = client.run(session, client.era)
    why = {step: _fault(step, met, real) for step in _asked(client, real)}
    verdicts = {step: NOTHING if step not in why else NO if why[step] else YES for step in STEPS}
    version = str(met["connect"].get("version", ""))
    return Cell(client, real, version, verdicts, {step: fault for step, fault in why.items() if fault})


def _asked(client: Kind, real: Real) -> Iterator[str]:
    """The steps that both sides can take."""
    able = {
        "masked": real.phi is not None,
        "progress": real.progress is not None and client.asks_progress,
        "elicitation": real.elicitation is not None and client.can_be_asked,
        "sampling": real.sampling is not None and client.can_be_asked,
    }
    yield from (step for step in STEPS if able.get(step, True))


def _calls(real: Real) -> dict[str, Call | None]:
    return {
        "allowed": real.allowed,
        "refused": real.refused,
        "progress": real.progress,
        "elicitation": real.elicitation,
        "sampling": real.sampling,
        "approved": real.held,
    }


def _steps(client: Kind, real: Real) -> Iterator[Step]:
    """What the client is told to do: each step but `connect`, and but `masked`, which is seen in what `allowed` got."""
    asked = set(_asked(client, real))
    yield {"step": "list"}
    for step, call in _calls(real).items():
        if call is not None and step in asked:
            yield {"step": step, "name": call.tool, "arguments": call.arguments, "progress": step == "progress"}


def _grant(running: Gateway, who: str) -> None:
    """Have the officer grant what `who` is about to wait for."""
    approvals = f"{running.url}/api/approvals"
    headers = running.headers("officer")
    deadline = time.monotonic() + _ASKED_S
    while time.monotonic() < deadline:
        listed = httpx2.get(approvals, params={"state": "pending"}, headers=headers).json()["approvals"]
        for each in listed:
            if each["requester"]["sub"] == who:
                done = httpx2.post(f"{approvals}/{each['id']}/grant", json={"reason": "synthetic"}, headers=headers)
                assert done.status_code == 200, done.text
                return
        time.sleep(_PAUSE_S)
    raise AssertionError(f"{who} asked for no approval")


def _fault(step: str, met: Met, real: Real) -> str:
    """What is wrong with what a client met in a step; empty when nothing is."""
    seen = met.get("allowed" if step == "masked" else step, {"error": "the client did not come to it"})
    if step == "refused" and real.reason == "tool_denied" and "not found on server" in seen.get("error", ""):
        return ""  # A client that looks a tool up before it calls it finds none.
    if "error" in seen:
        return str(seen["error"])
    if step == "connect":
        return ""
    said = json.dumps(seen["result"], ensure_ascii=False)
    if step == "list":
        return _missing(seen["result"], real)
    if step == "masked":
        return "the value is there" if real.phi in said else ""
    if step == "refused":
        return "" if "phigate/refusal" in said and f'"{real.reason}"' in said else f"not refused: {said[:300]}"
    call = _calls(real)[step]
    assert call is not None
    if seen["result"].get("isError") or call.says not in said:
        return f"another result: {said[:300]}"
    return "no progress was heard" if step == "progress" and not seen["progress"] else ""


def _missing(listed: dict[str, Any], real: Real) -> str:
    names = {tool["name"] for tool in listed["tools"]}
    wanted = {call.tool for call in (real.allowed, real.held)}
    hidden = {real.refused.tool} if real.reason == "tool_denied" else set()
    return "" if wanted <= names and not hidden & names else f"the list is {sorted(names)}"
