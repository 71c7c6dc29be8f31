"""Labels are of closed sets: whatever a client or a policy comes up with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.call import LISTEN
from gateway.core.policy import bundle as bundles
from gateway.core.protocol import mcp
from gateway.core.protocol.jsonrpc import Failure, Notification, Request, Success
from gateway.pdp import loader
from gateway.telemetry import words
from gateway.telemetry.words import CODES_MOST, Codes

KINDS = {"call", "read", "list", "greeting", "stream", "task", "notification", "answer", "other"}


@given(st.sampled_from(sorted(mcp.METHODS)) | st.text())
def test_every_message_is_one_of_a_few_kinds(method):
    assert words.message_class(Request(1, method)) in KINDS
    assert words.message_class(Notification(method)) == "notification"


def test_what_clients_send_most_is_told_apart():
    asked = {method: words.message_class(Request(1, method)) for method in ("tools/call", "tools/list", "patient/Doe")}
    assert asked == {"tools/call": "call", "tools/list": "list", "patient/Doe": "other"}
    assert words.message_class(LISTEN) == "stream"
    assert {words.message_class(each) for each in (Success(1, None), Failure(1, 0, ""))} == {"answer"}


def policy(*codes: str):
    text = "package gateway.call\n" + "\n".join(f'reason_{place} := "{code}"' for place, code in enumerate(codes))
    return bundles.read(bundles.build({"call.rego": text.encode()}))


def test_a_code_that_stands_in_the_policy_is_told_and_any_other_is_not():
    codes = Codes()
    codes.learn(policy("bulk_select"))
    assert codes.word("bulk_select") == "bulk_select"
    # As a policy says it that puts a code together from what it was asked.
    assert codes.word("mrn_4821937") == "other"


def test_the_gateways_own_codes_are_known_before_there_is_a_policy():
    assert Codes().word("policy_slow") == "policy_slow"


@pytest.mark.parametrize("code", ["write", "sql_schema_change", "no_rule", "bulk_select"])
def test_the_codes_of_the_shipped_policy_are_told(code):
    codes = Codes()
    codes.learn(bundles.read(loader.shipped()))
    assert codes.word(code) == (code if code != "no_rule" else "other")


def test_a_code_of_a_test_beside_the_policy_is_none_of_its_own():
    files = {"call.rego": b"package gateway.call\n", "call_test.rego": b'package t\nssn := "ssn_917365284"\n'}
    codes = Codes()
    codes.learn(bundles.read(bundles.build(files)))
    assert codes.word("ssn_917365284") == "other"


def test_policies_that_come_and_go_do_not_add_up_without_end():
    codes = Codes()
    told = set()
    for round_ in range(4):
        names = [f"code_{round_}_{place}" for place in range(200)]
        codes.learn(policy(*names))
        told |= {codes.word(name) for name in names}
    assert len(told) == CODES_MOST + 1
