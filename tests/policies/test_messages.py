"""Every message of MCP has its place in docs/messages.md, and the shipped policy does with each what is said there."""

import re
from pathlib import Path

import pytest

from gateway.core.call import LISTEN, Call
from gateway.core.masking import profile
from gateway.core.policy import input as policy_input
from gateway.core.policy.decision import Effect, Entrypoint
from gateway.core.protocol import mcp
from gateway.core.protocol.jsonrpc import Message, Notification, Request
from gateway.core.types import Era, ExchangeId, Principal, SessionId, UpstreamRef
from gateway.pdp import loader
from gateway.pdp.engine import Pdp
from tests import message_pages

PDP = Pdp(loader.read(Path(__file__).parents[2] / "policies"))
AT = "2026-01-05T12:00:00.000000Z"
CLINICIAN = Principal("https://issuer.example", "somebody", ("clinicians",))
ROWS = {
    (part, method): cells
    for part in ("client", "upstream")
    for method, cells in re.findall(
        r"^\| .*?`(\S+)` \| (.*) \|$",
        message_pages.page().split(f"## From the {part}\n")[1].split("\n## ")[0],
        re.MULTILINE,
    )
}


def call(message: Message) -> Call:
    upstream = UpstreamRef("clinic", {})
    return Call(ExchangeId("e"), SessionId("s"), "a", Era.LEGACY, "2025-11-25", CLINICIAN, upstream, message)


def asked(entrypoint, document):
    return PDP.decide(entrypoint, document, at=AT).decision.effect


def test_the_page_is_what_the_methods_and_the_policy_make_it():
    assert message_pages.PAGE.read_text() == message_pages.page(), "run `make docs`"


def test_every_method_of_every_revision_has_a_row():
    assert {method for part, method in ROWS if part == "client"} == {
        *mcp.CLIENT_REQUESTS, *mcp.CLIENT_NOTIFICATIONS, LISTEN.method,
    }  # fmt: skip
    assert {method for part, method in ROWS if part == "upstream"} == {
        *mcp.UPSTREAM_REQUESTS, *mcp.UPSTREAM_NOTIFICATIONS,
    }  # fmt: skip


@pytest.mark.parametrize("method", sorted(mcp.CLIENT_REQUESTS | mcp.CLIENT_NOTIFICATIONS | {LISTEN.method}))
def test_what_a_client_sends_is_for_whom_its_row_says(method):
    about = {"name": "x", "uri": "x://y", "ref": {"type": "ref/prompt", "name": "x"}}
    message = Request(1, method, about) if method in mcp.CLIENT_REQUESTS else Notification(method, {})
    effect = asked(Entrypoint.CALL, policy_input.for_call(call(LISTEN if method == LISTEN.method else message)))

    open_to_all = "nobody" not in ROWS["client", method]
    # A tool that nobody vouches for writes: the shipped policy asks a reviewer.
    wanted = Effect.REQUIRE_APPROVAL if method == "tools/call" else Effect.ALLOW
    assert effect is (wanted if open_to_all else Effect.DENY)


@pytest.mark.parametrize("method", sorted(mcp.UPSTREAM_REQUESTS | mcp.UPSTREAM_NOTIFICATIONS))
def test_what_an_upstream_sends_on_its_own_is_passed_on_where_its_row_says_so(method):
    message = Request(1, method) if method in mcp.UPSTREAM_REQUESTS else Notification(method)
    about = call(Request(1, "tools/call", {"name": "x"}))
    effect = asked(Entrypoint.RESULT, policy_input.for_result(about, message, profile.inspect({})))

    assert effect is (Effect.ALLOW if "passed on" in ROWS["upstream", method] else Effect.DENY)


@pytest.mark.parametrize("message", [Request(1, "no/such", {"name": "x"}), Notification("notifications/no_such")])
def test_a_method_of_no_revision_passes_in_neither_direction(message):
    about = call(Request(1, "tools/call", {"name": "x"}))

    assert asked(Entrypoint.CALL, policy_input.for_call(call(message))) is Effect.DENY
    assert asked(Entrypoint.RESULT, policy_input.for_result(about, message, profile.inspect({}))) is Effect.DENY
