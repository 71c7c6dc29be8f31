"""Programs that die, want too much, or serve many sessions at once."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from gateway.core.errors import UpstreamFault
from gateway.core.protocol.jsonrpc import Notification, Request, Success
from gateway.core.types import Era, SessionId
from gateway.upstream import wire
from gateway.upstream.base import Bounds, Deadlines, Link, StdioSettings
from tests.upstream.wires import ask

PROGRAM = (sys.executable, str(Path(__file__).with_name("program.py")))
MODERN = Link(SessionId("m"), Era.MODERN, "2026-07-28")
OTHER = replace(MODERN, session=SessionId("n"))
NOBODY_S = 20
SECRET = "SSN 078-05-1120"


def settings(tmp_path, *command, bounds=None, **more):
    return StdioSettings(
        "clinic",
        command or PROGRAM,
        tmp_path,
        {"PATH": os.defpath},
        deadlines=Deadlines(connect_s=10, idle_s=10, call_s=10),
        bounds=bounds or Bounds(),
        **more,
    )


def shell(tmp_path, script, **more):
    return settings(tmp_path, "/bin/sh", "-c", script, **more)


async def fault_of(upstream, link=MODERN):
    with pytest.raises(UpstreamFault) as raised:
        await ask(upstream, Request(1, "ping"), link)
    return raised.value


async def result_of(upstream, message, link=MODERN):
    (*_, last) = await ask(upstream, message, link)
    assert isinstance(last, Success)
    return last.result


def tool(name, **arguments):
    return Request("call", "tools/call", {"name": name, "arguments": arguments})


async def test_a_program_that_dies_at_its_start_is_not_started_in_a_circle(tmp_path):
    script = f"echo started >> starts; echo '{SECRET}' >&2; exit 3"
    bounds = Bounds(restart_s=(60.0, 60.0))
    with trio.fail_after(NOBODY_S):
        async with wire(shell(tmp_path, script, bounds=bounds)) as upstream:
            faults = [await fault_of(upstream, replace(MODERN, session=SessionId(str(each)))) for each in range(8)]

    assert (tmp_path / "starts").read_text().count("started") == 3
    assert "exit code 3, 1 line on stderr" in faults[0].detail
    assert {fault.kind for fault in faults[3:]} == {"unreachable"}
    assert "ended 3 times at its start" in faults[-1].detail
    assert "started again in 60 s" in faults[-1].detail
    assert SECRET not in "".join(fault.detail for fault in faults)


async def test_a_program_that_recovers_is_started_again_after_its_pause(tmp_path):
    script = f'test -e mended || exit 3; exec "{PROGRAM[0]}" "{PROGRAM[1]}"'
    bounds = Bounds(restart_s=(0.2, 0.2))
    with trio.fail_after(NOBODY_S):
        async with wire(shell(tmp_path, script, bounds=bounds)) as upstream:
            for _ in range(3):
                await fault_of(upstream)
            assert "started again" in (await fault_of(upstream)).detail
            (tmp_path / "mended").touch()
            while (result := await _result_or_none(upstream)) is None:
                await trio.sleep(0.02)

    assert result == {}


async def _result_or_none(upstream):
    try:
        return await result_of(upstream, Request(1, "ping"))
    except UpstreamFault:
        return None


async def test_a_program_that_once_answered_may_be_started_at_once_whenever_it_dies(tmp_path):
    with trio.fail_after(NOBODY_S):
        async with wire(settings(tmp_path, bounds=Bounds(restart_s=(60.0, 60.0)))) as upstream:
            for _ in range(4):
                pid = (await result_of(upstream, tool("heard")))["pid"]
                os.kill(pid, 9)
                while (await _how(upstream)) is None:
                    await trio.sleep(0.01)
            result = await result_of(upstream, tool("heard"))

    assert result["pid"] != pid


async def _how(upstream):
    """How the session's program ended, or None while it has not."""
    dead = upstream._processes[MODERN.session].board.dead
    return None if dead is None else dead.detail


async def test_what_became_of_a_program_is_logged_in_counts_alone(tmp_path, caplog):
    script = f"echo '{SECRET}' >&2; echo more >&2; kill -TERM $$"
    with trio.fail_after(NOBODY_S):
        async with wire(shell(tmp_path, script)) as upstream:
            await fault_of(upstream)

    assert "upstream clinic: its program ended: killed by SIGTERM, 2 lines on stderr" in caplog.text
    assert SECRET not in caplog.text


async def test_a_program_that_wants_more_memory_than_it_may_does_not_get_it(tmp_path):
    greedy = "import sys; sys.stdin.readline(); held = bytearray(1 << 30); print(len(held))"
    small = Bounds(max_memory_bytes=256 << 20)
    with trio.fail_after(NOBODY_S):
        async with wire(settings(tmp_path, sys.executable, "-c", greedy, bounds=small)) as upstream:
            fault = await fault_of(upstream)

    assert "exit code 1" in fault.detail


async def test_what_a_program_starts_has_its_limits_too(tmp_path):
    limits = Bounds(max_memory_bytes=512 << 20, max_cpu_s=7)
    script = "read line; (ulimit -v; ulimit -t) > limits"
    with trio.fail_after(NOBODY_S):
        async with wire(shell(tmp_path, script, bounds=limits)) as upstream:
            await fault_of(upstream)

    assert (tmp_path / "limits").read_text().split() == [str(512 << 10), "7"]


async def test_a_program_that_computes_for_ever_is_killed_when_its_processor_time_is_used_up(tmp_path):
    endless = "import sys; sys.stdin.readline()\nwhile True: pass"
    with trio.fail_after(NOBODY_S):
        async with wire(settings(tmp_path, sys.executable, "-c", endless, bounds=Bounds(max_cpu_s=1))) as upstream:
            fault = await fault_of(upstream)

    assert "killed by SIG" in fault.detail


async def test_a_launcher_starts_the_program_with_all_its_arguments(tmp_path):
    launcher = ("/bin/sh", "-c", 'echo "$@" > launched; exec "$@"', "launcher")
    with trio.fail_after(NOBODY_S):
        async with wire(settings(tmp_path, launcher=launcher)) as upstream:
            assert await result_of(upstream, Request(1, "ping")) == {}

    assert (tmp_path / "launched").read_text().split() == list(PROGRAM)


async def test_a_shared_program_serves_every_session_and_outlives_each(tmp_path):
    with trio.fail_after(NOBODY_S):
        async with wire(settings(tmp_path, shared=True)) as upstream:
            first = await result_of(upstream, tool("heard"), MODERN)
            await upstream.end(MODERN)
            other = await result_of(upstream, tool("heard"), OTHER)

    assert first["pid"] == other["pid"]


async def test_what_a_shared_program_says_of_nobodys_call_reaches_nobody(tmp_path):
    """Attack: a program that is asked by one session tells another what it heard."""
    with trio.fail_after(NOBODY_S):
        async with wire(settings(tmp_path, shared=True)) as upstream:
            said = await ask(upstream, tool("log"), MODERN)
            alone = await ask(upstream, tool("progress"), replace(MODERN, session=SessionId("p")))

    assert [message for message in said if isinstance(message, Notification)] == []
    assert isinstance(alone[-1], Success)
