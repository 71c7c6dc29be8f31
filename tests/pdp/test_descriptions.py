"""What describes an upstream, through the shipped policy and the masks that it asks for: no patient, and no damage."""

from pathlib import Path

import pytest
import trio

from gateway.core.masking import plan
from gateway.core.policy import samples
from gateway.core.policy.decision import Effect, Entrypoint
from gateway.core.protocol.jsonrpc import Request, Success
from gateway.core.types import Era, SessionId
from gateway.pdp import loader
from gateway.pdp.engine import Pdp
from gateway.upstream import wire
from gateway.upstream.base import Deadlines, Link, StdioSettings
from tests import real_parts
from tests.upstream.wires import ask

POLICIES = Path(__file__).resolve().parents[2] / "policies"
CLIENT = {"name": "phigate-test", "version": "1"}
GREETING = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": CLIENT}
SSN, PHONE = "917-36-5284", "857-555-0163"
TOOL = {
    "name": "read_encounter",
    "title": "Encounters, as of 2026-01-05",
    "description": "Patient/Encounter by date, e.g. since 2024-01-02. See https://clinic.example/docs. By Jane Doe.",
    "icons": [{"src": "data:image/png;base64,iVBORw0KGgo=", "mimeType": "image/png"}],
    "inputSchema": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "ssn": {"type": "string", "pattern": r"^\d{3}-\d{2}-\d{4}$"},
            "birth_date": {"type": "string", "format": "date", "default": "1970-01-01"},
            "kind": {"enum": ["Encounter", "Patient"]},
            "Encounter": {"type": "string"},
        },
        "required": ["ssn"],
    },
}


@pytest.fixture(scope="module")
def pdp():
    with Pdp(loader.read(POLICIES)) as pdp:
        yield pdp


def masked(pdp, group, method, result):
    """What a member of `group` gets of the result of `method`."""
    document = {
        "phase": "result",
        "time": samples.TIME,
        "principal": {"iss": "https://issuer.example", "sub": "s", "groups": [group]},
        "upstream": {"name": "clinic", "labels": {}},
        "facts": {},
        "message": {"kind": "request", "method": method, "name": ""},
        "result": {"kind": "success", "method": "", "is_error": False, "asks": []},
        "profile": {"classes": {}, "paths": [], "rows": 0, "patients": 0, "bytes": 9},
    }
    decision = pdp.decide(Entrypoint.RESULT, document, at=samples.TIME).decision
    assert decision.effect is Effect.ALLOW
    return plan.apply(result, decision.mask, key=b"k" * 32, schema=None).value


@pytest.mark.parametrize("group", ["analysts", "engineers", "clinicians"])
@pytest.mark.parametrize("method", ["tools/list", "prompts/list", "initialize", "server/discover", "ping"])
def test_an_ssn_in_a_cursor_in_meta_or_in_instructions_reaches_nobody(pdp, method, group):
    result = {"nextCursor": SSN, "_meta": {"last": {"ssn": SSN}, "note": f"SSN {SSN}"}, "instructions": f"Ask {SSN}."}

    assert SSN not in str(masked(pdp, group, method, result))


@pytest.mark.parametrize("key", ["description", "name", "title"])
def test_an_ssn_or_phone_number_in_a_definition_does_not_reach_an_analyst(pdp, key):
    listing = {"tools": [{**TOOL, key: f"Like {SSN}, call {PHONE}"}], "nextCursor": "2"}

    shown = str(masked(pdp, "analysts", "tools/list", listing))

    assert SSN not in shown
    assert PHONE not in shown


@pytest.mark.parametrize("group", ["analysts", "engineers", "clinicians"])
def test_names_dates_links_icons_and_schemas_of_a_tool_stay_as_they_are(pdp, group):
    tool = {**TOOL, "description": TOOL["description"].replace("Patient/Encounter", "Encounters")}
    listing = {"tools": [tool], "nextCursor": "eyJwYWdlIjoyfQ=="}

    assert masked(pdp, group, "tools/list", listing) == listing


def test_a_word_that_looks_like_a_reference_in_prose_is_masked_nowhere_else(pdp):
    (shown,) = masked(pdp, "analysts", "tools/list", {"tools": [TOOL]})["tools"]

    assert {**shown, "description": ""} == {**TOOL, "description": ""}


async def test_the_everything_server_is_described_to_the_byte(pdp, tmp_path):
    command = (str(await trio.to_thread.run_sync(real_parts.npm_tool, "mcp-server-everything")),)
    settings = StdioSettings("npm", command, tmp_path, real_parts.environment(), deadlines=Deadlines(connect_s=20))
    link = Link(SessionId("s"), Era.LEGACY, "2025-11-25", greeting=GREETING)
    async with wire(settings) as upstream:
        with trio.fail_after(60):
            for method, params in {"initialize": GREETING, "tools/list": {}, "prompts/list": {}}.items():
                heard = (await ask(upstream, Request(1, method, params), link))[-1]
                assert isinstance(heard, Success)
                assert masked(pdp, "analysts", method, heard.result) == heard.result
